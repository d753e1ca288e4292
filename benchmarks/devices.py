"""Measure how a training step grows with the number of devices that share it.

    python benchmarks/devices.py [--networks 64-128-10] [--devices 1 2 4 8]

The devices are JAX's CPU devices, all on the same few cores: this is the shape of the
cost, not the speed of several machines. Float32, Adam. Each number of devices has a
process of its own, and they take turns. Printed are the median of the CPU µs of a step
(all threads), and of the program that XLA compiled: its collectives of a step, the
bytes that each device sends for them around a ring, and the memory of a device, in
vectors of all parameters: arguments without the samples, and temporaries.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import common
from common import compete, series, summary, table
from problems import PROBLEMS, Problem


class Network(NamedTuple):
    """What is trained: one network, or members of an ensemble."""

    problem: Problem
    members: int | None = None


# Their batches are whole ones, so that a program has one loop over steps.
NETWORKS = {
    name: Network(PROBLEMS[name])
    for name in ("1-32-32-1", "64-128-10", "784-512-512-10")
}
NETWORKS["8 x 1-32-32-1"] = NETWORKS["1-32-32-1"]._replace(members=8)
DEVICES = (1, 2, 4, 8)
SECONDS = 0.4  # of CPU time, of one turn, at least

WIDTHS = {"pred": 1, "bf16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8}
SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
COLLECTIVE = re.compile(
    r" = (?P<type>\(.*?\)|\S+) "
    r"(?P<kind>all-gather|reduce-scatter|all-reduce|all-to-all|collective-permute)\("
    r".*?op_name=\"(?P<where>[^\"]*)\""
)
# The loop over steps; what is outside of it is done once an epoch.
STEP = "shard_map/while/body/"


class Collective(NamedTuple):
    """One collective of a compiled program: its kind, and the bytes of its result."""

    kind: str
    size: int
    of_step: bool

    def sent(self, devices: int) -> float:
        """Return the bytes that each device sends, around a ring."""
        whole = self.size * (devices if self.kind == "reduce-scatter" else 1)
        times = 2 if self.kind == "all-reduce" else 1
        return times * whole * (devices - 1) / devices


def collectives(text: str) -> list[Collective]:
    """Return the collectives in the text of a compiled program."""
    found = []
    for line in COLLECTIVE.finditer(text):
        size = 0
        for name, shape in SHAPE.findall(line["type"]):
            number = 1
            for axis in filter(None, shape.split(",")):
                number *= int(axis)
            size += WIDTHS[name] * number
        found.append(Collective(line["kind"], size, STEP in line["where"]))
    return found


def compiled() -> tuple[str, Any]:
    """Return the text and the memory of the largest program with a loop."""
    import jax

    found = []
    for program in jax.devices()[0].client.live_executables():
        (module,) = program.hlo_modules()
        text = module.to_string()
        if " while(" in text:
            found.append((text, program.get_compiled_memory_stats()))
    return max(found, key=lambda pair: len(pair[0]))


def prepare(network: str, devices: int) -> Callable[[], dict[str, Any]]:
    """Be so many devices: compile and warm up; return the timed fit."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_NUM_CPU_DEVICES"] = str(devices)  # before JAX is imported
    common.need("jax")
    import chainrule as cr

    problem, members = NETWORKS[network]
    x, y = problem.data()
    model = cr.Model(
        cr.MLP(problem.units[1:], activation=problem.activation),
        loss=problem.loss,
        backend="jax",
        device="cpu:*",
        members=members,
        seed=0,
    )

    def fit(epochs: int) -> dict[str, float]:
        cpu, wall = time.process_time(), time.perf_counter()
        model.fit(x, y, epochs=epochs, batch_size=problem.batch, progress=False)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        parts = 1e-6 * epochs * problem.steps
        return {"cpu": cpu / parts, "wall": wall / parts}

    fit(1)
    text, memory = compiled()
    every = collectives(text)
    kinds = Counter(each.kind for each in every if each.of_step)
    facts = {
        "parameters": model.theta.size,
        "collectives": dict(kinds),
        "sent": sum(each.sent(devices) for each in every if each.of_step),
        "arguments": memory.argument_size_in_bytes - x.nbytes - y.nbytes,
        "temporaries": memory.temp_size_in_bytes,
    }
    # What a fit does once, before its first step, is not to count; nor is compiling.
    epochs = 1
    fit(epochs)
    while 1e-6 * epochs * problem.steps * fit(epochs)["cpu"] < SECONDS:
        epochs *= 2
        fit(epochs)
    return lambda: {**fit(epochs), **facts}


def rows_of(network: str, found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a row of the table for each number of devices that took part."""
    rows = []
    for devices, result in found.items():
        if not result.get("rounds"):
            continue
        facts = result["rounds"][-1]
        vector = 4 * facts["parameters"]
        kinds = facts["collectives"]
        rows.append(
            (
                f"{network}, {devices}",
                f"{result['cpu']['median']:,.0f}",
                ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "none",
                f"{facts['sent']:,.0f}",
                f"{facts['arguments'] / vector:.2f}",
                f"{facts['temporaries'] / vector:.2f}",
            )
        )
    return rows


def main(argv: Iterable[str] | None = None) -> int:
    """Run the benchmark; return 1 if a contender failed."""
    parser = common.parser(__doc__, rounds=5, stem="devices")
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS)
    )
    parser.add_argument(
        "--devices", nargs="+", type=common.positive, default=list(DEVICES)
    )
    options = parser.parse_args(None if argv is None else list(argv))
    report: dict[str, Any] = {"networks": {}}
    rows: list[tuple[str, ...]] = []
    absent: list[str] = []
    for network in options.networks:
        jobs = {str(n): {"network": network, "devices": n} for n in options.devices}
        found = compete(__file__, jobs, options.rounds, network)
        for result in found.values():
            if result.get("rounds"):
                for key in ("cpu", "wall"):
                    result[key] = summary(series(result, key))
        report["networks"][network] = found
        rows += rows_of(network, found)
        absent += common.absent(found, network)
    header = ("network, devices", "CPU µs", "collectives", "bytes sent")
    print(table((*header, "arguments / P", "temporaries / P"), rows))
    print("\n".join(absent))
    common.write(options.out, "devices", options, report)
    return int(common.failed(report))


if __name__ == "__main__":
    common.run(main, prepare)
