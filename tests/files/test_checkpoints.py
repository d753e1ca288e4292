"""Files of fits: forged, foreign, or of other data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
)
from chainrule.files import container, digest

from tests.soak import fuzz_load, fuzz_resume
from tests.support.fits import (
    crashed,
    fit_model,
    new_model,
)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "fit.st"
    crashed(2, Checkpoint(path))
    whole = path.read_bytes()
    for bad in (whole[:-1], whole[:100], b"", b"x" * 100, whole + b"x"):
        path.write_bytes(bad)
        model = new_model()
        with pytest.raises(cr.SerializationError, match=path.name):
            fit_model(model, 4, resume=path)
        assert not model.built
    once = new_model()
    fit_model(once, 1)
    once.save(path)
    with pytest.raises(cr.SerializationError, match="a model file, not a checkpoint"):
        fit_model(new_model(), 4, resume=path)
    with pytest.raises(cr.FileError, match="cannot be read"):
        fit_model(new_model(), 4, resume=tmp_path)
    for bad_path in (3, True, b""):
        with pytest.raises(cr.ArgumentTypeError, match="resume must be the path"):
            fit_model(new_model(), 4, resume=bad_path)


@pytest.mark.parametrize(
    "entry",
    ["first", "history", "before", "callbacks", "part", "wanted", "around", "number"],
)
def test_a_forged_checkpoint(entry: str, tmp_path: Path) -> None:
    """Its checksum is right, and what it says is not."""
    path = tmp_path / "fit.st"
    cuts = 4 if entry == "part" else None
    crashed(1, Checkpoint(path, every=2, every_steps=cuts), EarlyStopping())
    if cuts is None:
        fit_model(new_model(), 2, Checkpoint(path), EarlyStopping())
    config, tensors = container.read_file(path)
    fit = config["fit"]
    for bad in (None, 3, "x", [], {}, {"a": 1}, [[1]]):
        if entry == "part":
            if bad is None:
                continue
            fit["part"] = {**fit["part"], "carry": bad}
        elif entry == "number":
            fit["callbacks"] = [["EarlyStopping", bad, True]]
        else:
            fit[entry] = bad
        if isinstance(bad, (list, dict)) and entry in (
            "callbacks",
            "history",
            "before",
        ):
            continue
        container.write_file(path, config, tensors)
        model = new_model()
        with pytest.raises((cr.SerializationError, cr.ResumeError), match=path.name):
            fit_model(model, 4, Checkpoint(path), EarlyStopping(), resume=path)
        assert not model.built


def test_large_data_are_hashed_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = new_model().backend
    a = np.arange(200_000, dtype=np.float64).reshape(-1, 2)
    whole = digest.fingerprint(backend, a)
    assert whole.startswith("(100000, 2) float64 ")
    monkeypatch.setattr(digest, "HASHED", 1 << 18)
    part = digest.fingerprint(backend, a)
    assert part != whole
    for change in (0, -1):
        b = a.copy()
        b[change] += 1
        assert digest.fingerprint(backend, b) != part
    assert digest.fingerprint(backend, a[:-1]) != part


FORGED: dict[str, tuple[Any, str]] = {
    "first beyond the model": (lambda f: f.update(first=99), "began with epoch 99"),
    "first a word": (
        lambda f: f.update(first="0"),
        "the first epoch of the fit must be",
    ),
    "a column a word": (
        lambda f: f["history"].update(loss="abc"),
        "'loss' must be a list",
    ),
    "words in a column": (
        lambda f: f["history"].update(loss=["abc"]),
        "must hold numbers",
    ),
    "a short column": (
        lambda f: f["history"].update(loss=[0.5] * 2),
        "columns of one length",
    ),
    "history a number": (lambda f: f.update(history=3), "must be a JSON object"),
    "no history before": (lambda f: f.pop("before"), "must be a JSON object"),
    "state a number": (
        lambda f: f.update(callbacks=[{"$tuple": ["Checkpoint", 3, True]}]),
        "callbacks must be",
    ),
    "callbacks a number": (lambda f: f.update(callbacks=3), "callbacks must be"),
    "wanted a tuple": (
        lambda f: f["wanted"].update(x={"$tuple": [1]}),
        "numbers and words",
    ),
    "around a list": (lambda f: f["around"].update(backend=[]), "numbers and words"),
    "no steps": (lambda f: f["part"].update(done=0), "steps of the epoch must be"),
    "other steps": (lambda f: f["part"].update(done=5), "are not such as the model's"),
    "negative step": (lambda f: f["part"].update(step=-1), "step must be"),
    "a huge epoch": (lambda f: f["part"].update(epoch=2**60), "at most 2..53"),
    "rate a word": (lambda f: f["part"].update(rate="fast"), "rate must be"),
    "no values": (
        lambda f: f["part"].update(values=None),
        "are not such as the model's",
    ),
    "masses a number": (
        lambda f: f["part"].update(masses=1.0),
        "are not such as the model's",
    ),
    "carry a number": (
        lambda f: f["part"].update(carry=3),
        "are not such as the model's",
    ),
    "carry an array": (
        lambda f: f["part"].update(carry=f["part"]["values"]),
        "are not such as the model's|which the file does not have",
    ),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_fit_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "fit"
    crashed(1, Checkpoint(path, every_steps=4))
    config, entries, data = fuzz_load.take_apart(path.read_bytes())
    change, match = FORGED[kind]
    change(config["fit"])
    path.write_bytes(fuzz_load.forge(config, entries, data))
    model, stopper = new_model(), EarlyStopping()
    with pytest.raises(cr.SerializationError, match=match):
        fit_model(model, 6, stopper, resume=path)
    assert not model.built
    assert vars(stopper) == vars(EarlyStopping())


def test_a_callback_that_refuses_its_state_leaves_the_others(tmp_path: Path) -> None:
    class Own(Callback):
        def state(self) -> dict[str, Any]:
            return {"n": 1}

        def restore(self, state: dict[str, Any]) -> None:
            raise IndexError

    path, stopper = tmp_path / "fit", EarlyStopping()
    fit_model(new_model(), 2, EarlyStopping(), Own(), Checkpoint(path))
    model = new_model()
    with pytest.raises(cr.SerializationError, match="Own refuses its state"):
        fit_model(model, 6, stopper, Own(), resume=path)
    assert not model.built
    assert vars(stopper) == vars(EarlyStopping())


def test_hundreds_of_forged_checkpoints(tmp_path: Path) -> None:
    found = fuzz_resume.fuzz(400, 1, tmp_path)
    assert found["SerializationError"] > 100
    assert found["went on"] > 10
