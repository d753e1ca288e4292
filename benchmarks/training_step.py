"""Time training steps of small networks against the peers, in one run.

    python benchmarks/training_step.py [--rounds 5] [--out results.json]

Contenders take turns, each in a process of its own: chainrule on NumPy, JAX and torch,
scikit-learn's MLPRegressor, PyTorch eager (fused Adam), and optax with jax.grad under
lax.scan. A round is one whole fit after a warm-up fit of the same shapes. Printed are
medians of microseconds a step, their spread, ratios to ours, and the final loss of
each, so that nobody wins by computing less. Missing peers are skipped by name.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

SAMPLES, BATCH, UNITS, RATE = 1024, 32, (32, 32, 1), 1e-3
STEPS = SAMPLES // BATCH


def data():
    x = np.linspace(-1, 1, SAMPLES, dtype=np.float32)[:, None]
    return x, x**2


def chainrule(backend, epochs):
    import chainrule as cr

    x, y = data()
    network = cr.MLP(UNITS, activation="tanh")
    model = cr.Model(network, optimizer=cr.Adam(RATE), backend=backend)

    def fit():
        history = model.fit(x, y, epochs=epochs, batch_size=BATCH, progress=False)
        return history["loss"][-1]

    return fit


def scikit_learn(epochs):
    from sklearn.neural_network import MLPRegressor

    warnings.simplefilter("ignore")
    x, y = data()
    model = MLPRegressor(
        hidden_layer_sizes=UNITS[:-1],
        activation="tanh",
        batch_size=BATCH,
        max_iter=epochs,
        alpha=0.0,
        learning_rate_init=RATE,
        tol=0.0,
        n_iter_no_change=10**9,
        random_state=0,
        warm_start=True,
    )

    def fit():
        model.fit(x, y[:, 0])
        return 2 * model.loss_  # its loss has a ½

    return fit


def torch_eager(epochs):
    import torch

    x, y = (torch.from_numpy(a) for a in data())
    torch.manual_seed(0)
    linear, tanh = torch.nn.Linear, torch.nn.Tanh
    net = torch.nn.Sequential(
        linear(1, 32), tanh(), linear(32, 32), tanh(), linear(32, 1)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)

    def fit():
        for _ in range(epochs):
            total = 0.0
            order = torch.randperm(SAMPLES)
            for low in range(0, SAMPLES, BATCH):
                some = order[low : low + BATCH]
                optimizer.zero_grad(set_to_none=True)
                loss = torch.nn.functional.mse_loss(net(x[some]), y[some])
                loss.backward()
                optimizer.step()
                total += loss.detach()
        return float(total) / STEPS

    return fit


def optax_scan(epochs):
    import jax
    import jax.numpy as jnp
    import optax

    x, y = (jnp.asarray(a) for a in data())
    rng = np.random.default_rng(0)
    sizes = list(zip((1, *UNITS[:-1]), UNITS, strict=True))
    params = [
        (
            jnp.asarray(rng.normal(0, (2 / (n + m)) ** 0.5, (n, m)), jnp.float32),
            jnp.zeros(m),
        )
        for n, m in sizes
    ]
    optimizer = optax.adam(RATE)

    def loss(params, x, y):
        for k, (w, b) in enumerate(params):
            x = x @ w + b
            x = jnp.tanh(x) if k < len(params) - 1 else x
        return jnp.mean((x - y) ** 2)

    def step(carry, index):
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params, x[index], y[index])
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), value

    @jax.jit
    def epoch(carry, key):
        order = jax.random.permutation(key, SAMPLES).reshape(STEPS, BATCH)
        carry, values = jax.lax.scan(step, carry, order)
        return carry, values.mean()

    carry = [(params, optimizer.init(params))]

    def fit():
        for k in range(epochs):
            carry[0], value = epoch(carry[0], jax.random.key(k))
        return float(value)

    return fit


CONTENDERS = {
    "chainrule numpy": lambda e: chainrule("numpy", e),
    "chainrule jax": lambda e: chainrule("jax", e),
    "chainrule torch": lambda e: chainrule("torch", e),
    "scikit-learn": scikit_learn,
    "torch eager": torch_eager,
    "optax lax.scan": optax_scan,
}


def one(name, epochs):
    """Run one contender once: microseconds a step, and its last loss."""
    fit = CONTENDERS[name](epochs)
    fit()
    start = time.perf_counter()
    loss = fit()
    seconds = time.perf_counter() - start
    return {"us": 1e6 * seconds / (epochs * STEPS), "loss": loss}


def versions():
    found = {"python": platform.python_version(), "machine": _processor()}
    for name in ("chainrule", "numpy", "jax", "torch", "scikit-learn", "optax"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor():
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def import_time(module, rounds=9):
    """Median milliseconds of a fresh interpreter that imports a module, less an empty."""

    def run(code):
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    return 1e3 * (run(f"import {module}") - run("pass"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.epochs)))
        return
    runs = {name: [] for name in CONTENDERS}
    skipped = {}
    for r in range(options.rounds):
        for name in CONTENDERS:
            if name in skipped:
                continue
            print(
                f"\rround {r + 1} of {options.rounds}: {name:<20}", end="", flush=True
            )
            command = [sys.executable, __file__, "--one", name]
            command += ["--epochs", str(options.epochs)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                skipped[name] = done.stderr.strip().splitlines()[-1]
                continue
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    print("\r" + " " * 50 + "\r", end="")
    print(f"1-32-32-1 tanh, batch {BATCH}, {SAMPLES} samples, Adam, float32")
    print(f"{'':<17} {'µs/step':>8} {'min':>7} {'max':>7}  final loss")
    medians = {}
    for name, rows in runs.items():
        if name in skipped:
            print(f"{name:<17} skipped: {skipped[name]}")
            continue
        times = [row["us"] for row in rows]
        medians[name] = statistics.median(times)
        loss = statistics.median(row["loss"] for row in rows)
        print(
            f"{name:<17} {medians[name]:8.1f} {min(times):7.1f} {max(times):7.1f}"
            f"  {loss:.1e}"
        )
    ratios = {
        f"{ours} / {peer}": medians[ours] / medians[peer]
        for ours, peer in (
            ("chainrule numpy", "scikit-learn"),
            ("chainrule numpy", "torch eager"),
            ("chainrule jax", "optax lax.scan"),
            ("chainrule jax", "torch eager"),
            ("chainrule torch", "torch eager"),
        )
        if ours in medians and peer in medians
    }
    imports = {name: import_time(name) for name in ("numpy", "chainrule")}
    ratios["import chainrule / import numpy"] = imports["chainrule"] / imports["numpy"]
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.3f}")
    if options.out:
        report = {
            "versions": versions(),
            "runs": runs,
            "skipped": skipped,
            "ratios": ratios,
            "import_ms": imports,
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
