"""Mutated model files: `load` takes them, or says what is wrong with which file.

    python -m tests.soak.fuzz_load 100000

Half of the files are damaged bytes, which the checksum must find. The other half are
forged: their checksum is right, and their configuration or their header is hostile.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr

ZEROS = "0" * 64
# Events of the interpreter that no load may cause.
FORBIDDEN = ("exec", "compile", "import", "os.", "subprocess.", "pickle.", "socket.")
ALLOWED = ("os.listdir", "os.scandir")

HOSTILE: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2.5,
    -0.0,
    1e308,
    1e-320,
    10**12,
    2**31,
    2**63,
    2**255,
    10**4000,
    "",
    "relu",
    "zeros",
    "\ud800",
    "x" * 10_000,
    "os.system",
    [],
    [[]],
    [None],
    {},
    {"$class": "os.system"},
    {"$class": "layers.Dense", "units": 10**12},
    {"$class": "layers.Layer"},
    {"$class": "layers.Sequential", "layers": []},
    {"$class": "schedules.Constant", "learning_rate": 1.0},
    {"$class": "initializers.Constant", "value": 1.0},
    {"$class": "metrics.r2"},
    {"$class": ["layers.Dense"]},
    {"$function": "metrics.r2"},
    {"$function": "layers.Dense"},
    {"$function": "builtins.eval"},
    {"$float": "nan"},
    {"$float": "inf"},
    {"$float": "1"},
    {"$tuple": [1, 2]},
    {"$array": "optimizer/m"},
    {"$array": "0.weight"},
    {"$what": 1},
    "F32",
    "F64",
    "I64",
    "BF16",
    "F8_E4M3",
]


class Outcome(NamedTuple):
    """What a run of files came to."""

    files: int
    loaded: int
    refused: Counter[str]
    seconds: float
    slowest: float
    megabytes: float


def models(seed: int) -> list[bytes]:
    """Return the files that are mutated."""
    x = np.random.default_rng(seed).normal(size=(16, 3))
    y = np.abs(x[:, :2])
    network = cr.Sequential(
        cr.Dense(4, kernel_initializer=cr.initializers.Orthogonal()),
        cr.BatchNorm(),
        cr.Residual(cr.Sequential(cr.LayerNorm(), cr.ELU(0.5), cr.Dense(4))),
        cr.Dropout(0.2),
        cr.Flatten(),
        cr.Dense(2, bias=False, trainable=False),
    )
    decay = cr.schedules.CosineDecay(0.01, 50, warmup_steps=2)
    made = [
        cr.Model(
            network,
            loss=cr.losses.Huber(0.7),
            optimizer=cr.AdamW(decay, clip_norm=1.0),
            metrics=["r2", cr.metrics.mean_absolute_error],
            backend="numpy",
            seed=2**127,
        ),
        cr.Model(cr.MLP((2,)), loss="poisson", dtype="float64", backend="numpy"),
    ]
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for k, model in enumerate(made):
            model.fit(x, y, epochs=2, batch_size=8)
            path = Path(folder) / f"{k}"
            model.save(path, include_optimizer=k == 0)
            files.append(path.read_bytes())
    return files


def take_apart(raw: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Return configuration, entries and data of a file."""
    end = 8 + int.from_bytes(raw[:8], "little")
    entries = json.loads(raw[8:end])
    config = json.loads(entries.pop("__metadata__")["chainrule"])
    return config, entries, raw[end:]


def forge(config: Any, entries: Any, data: bytes, text: str | None = None) -> bytes:
    """Return a file with a right checksum, whatever it says."""
    if text is None:
        if isinstance(config, dict):
            config = {
                "sha256": ZEROS,
                **{k: v for k, v in config.items() if k != "sha256"},
            }
        text = json.dumps(config, separators=(",", ":"))
    outer = json.dumps(
        {"__metadata__": {"chainrule": text}, **entries}, separators=(",", ":")
    ).encode()
    outer += b" " * (-len(outer) % 8)
    header = len(outer).to_bytes(8, "little") + outer
    digest = hashlib.sha256(header + data).hexdigest()
    return header.replace(ZEROS.encode(), digest.encode(), 1) + data


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """Return other bytes than `raw`."""
    out = bytearray(raw)
    while out == raw:
        kind = rng.randrange(8)
        at = rng.randrange(len(out)) if out else 0
        header = 8 + int.from_bytes(raw[:8], "little")
        if kind == 0:
            for _ in range(rng.choice((1, 1, 1, 4, 40))):
                out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            out += rng.randbytes(rng.choice((1, 8, 1000)))
        elif kind == 3:
            n = rng.choice((0, 1, 7, 2**16, 2**31, 2**53, 2**63, 2**64 - 1, header))
            out[:8] = n.to_bytes(8, "little")
        elif kind == 4:
            del out[at : at + rng.choice((1, 8, 100))]
        elif kind == 5:
            out[at:at] = rng.randbytes(rng.choice((1, 8, 100)))
        elif kind == 6:
            digits = [k for k in range(8, header) if 48 <= raw[k] <= 57]
            at = rng.choice(digits)
            out[at : at + 1] = rng.choice(
                (b"9" * 5, b"-1", b"1e9", b"18446744073709551615")
            )
        else:
            other = rng.randrange(len(out))
            out[at : at + 8], out[other : other + 8] = (
                out[other : other + 8],
                out[at : at + 8],
            )
        if not out:
            return bytes(out)
    return bytes(out)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of everything in parsed JSON."""
    found: list[tuple[Any, Any]] = []
    todo = [tree]
    while todo:
        node = todo.pop()
        keys: Any = node if isinstance(node, dict) else range(len(node))
        for key in list(keys):
            found.append((node, key))
            if isinstance(node[key], (dict, list)):
                todo.append(node[key])
    return found


def _mutate(tree: Any, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        places = _places(tree)
        if not places:
            return
        node, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind <= 3:
            node[key] = json.loads(json.dumps(rng.choice(HOSTILE[:14] + HOSTILE[15:])))
            if rng.random() < 0.02:
                node[key] = 10**4000
        elif kind == 4:
            del node[key]
        elif kind == 5:
            other, name = rng.choice(places)
            try:
                node[key] = json.loads(json.dumps(other[name]))
            except (KeyError, IndexError):
                return
        elif kind == 6:
            for _ in range(rng.choice((1, 60, 120, 400))):
                node[key] = [node[key]] if rng.random() < 0.5 else {"a": node[key]}
        elif isinstance(node, dict):
            node[rng.choice(("$class", "extra", "units", "layers", "\ud800"))] = 1
        else:
            node.extend([node[key]] * rng.choice((1, 100)))


def forged(raw: bytes, rng: random.Random) -> bytes:
    """Return a file with a right checksum and hostile contents."""
    config, entries, data = take_apart(raw)
    kind = rng.randrange(10)
    try:
        if kind <= 6:
            _mutate(config, rng)
        elif kind == 7:
            _mutate(entries, rng)
        elif kind == 8:
            data = rng.randbytes(rng.choice((0, len(data), len(data) + 8)))
        else:
            text = json.dumps({**config, "sha256": ZEROS}, separators=(",", ":"))
            text = rng.choice(
                (
                    text.replace("{", '{"a":1,"a":2,', 1),
                    text.replace("1", "NaN", 1),
                    "[" * 50_000,
                    text[: rng.randrange(len(text))],
                    text.replace('"format":1', f'"format":{"9" * 5000}'),
                    "[" + ",".join(["[]"] * 200_000) + "]",
                    "null",
                )
            )
            return forge(config, entries, data, text)
        return forge(config, entries, data)
    except (RecursionError, ValueError):
        return forge(0, {}, data)


_watching = [False]
_caught: list[str] = []


def _hook(event: str, arguments: Any) -> None:
    if _watching[0] and event.startswith(FORBIDDEN) and event not in ALLOWED:
        _caught.append(f"{event} {arguments!r}"[:200])


def fuzz(count: int, seed: int, folder: Path) -> Outcome:
    """Load `count` mutated files; raise AssertionError at the first misbehaviour."""
    rng = random.Random(seed)
    good = models(seed)
    path = folder / "victim.safetensors"
    for raw in good:  # what a load imports, it has imported now
        path.write_bytes(raw)
        cr.load(path)
    import difflib  # noqa: F401 - for the hints of errors

    sys.addaudithook(_hook)
    refused: Counter[str] = Counter()
    loaded, slowest = 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    for number in range(count):
        raw = rng.choice(good)
        broken = number % 2 == 0
        path.write_bytes(damaged(raw, rng) if broken else forged(raw, rng))
        began = time.perf_counter()
        try:
            _watching[0] = True
            model = cr.load(path)
        except cr.SerializationError as error:
            _watching[0] = False
            text = str(error)
            assert text.startswith(str(path)), f"{number}: {text[:200]}"
            assert len(text) < 2000, f"{number}: {text[:200]}"
            refused[type(error).__name__] += 1
        else:
            _watching[0] = False
            assert not broken, f"{number}: a damaged file was loaded"
            assert model.built
            loaded += 1
        finally:
            _watching[0] = False
        slowest = max(slowest, time.perf_counter() - began)
        assert not _caught, f"{number}: {_caught}"
        assert list(folder.iterdir()) == [path]
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    megabytes = (after - before) / 1024
    assert slowest < 30.0, f"a file took {slowest:.1f} s"
    assert megabytes < 300.0, f"memory grew by {megabytes:.0f} MB"
    return Outcome(count, loaded, refused, seconds, slowest, megabytes)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(fuzz(int(sys.argv[1]), int((sys.argv[2:] or ["0"])[0]), Path(place)))
