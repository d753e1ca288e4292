"""The benchmarks compare like with like, and write what they promise."""

from __future__ import annotations

import importlib
import importlib.machinery
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr

from tests.support.libraries import here

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def bench(name: str) -> Any:
    return importlib.import_module(name)


def tiny(loss: str) -> Any:
    if loss == "squared_error":
        return bench("problems").Problem("tiny", (2, 5, 4, 3), "tanh", 8, 32, loss, 3)
    return bench("problems").Problem("tiny", (4, 6, 3), "relu", 8, 32, loss, 3)


# Compiling with torch.compile takes longer than all the rest: see the next test.
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
@pytest.mark.parametrize(
    "name",
    [
        "chainrule-jax",
        "chainrule-torch",
        "scikit-learn",
        "torch-eager",
        "optax-scan",
        "optax-loop",
        "numpy-bare",
    ],
)
def test_contenders_end_where_chainrule_does(name: str, loss: str) -> None:
    contenders, problem = bench("contenders"), tiny(loss)
    ours = contenders.CONTENDERS["chainrule-numpy"](problem)
    ours.fit()
    wanted = problem.evaluate(ours.layers())
    assert wanted < 0.999 * problem.evaluate(problem.initial())
    try:
        rival = contenders.CONTENDERS[name](problem)
    except (bench("common").Missing, ImportError) as reason:
        pytest.skip(str(reason))
    tolerance = 0.05 if name in contenders.OWN_ORDER else 1e-5
    for _ in range(2):  # a second fit after `reset` is the first one again
        rival.reset()
        rival.fit()
        assert problem.evaluate(rival.layers()) == pytest.approx(wanted, rel=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["torch-compile", "chainrule-torch-compiled", "keras-jax"]
)
def test_slow_contenders_end_there_too(name: str) -> None:
    problem = tiny("squared_error")
    result = bench("common").compete(
        str(FOLDER / "training_step.py"),
        {n: {"problem": problem, "contender": n} for n in ("numpy-bare", name)},
        rounds=2,
    )
    if "skipped" in result[name]:
        pytest.skip(result[name]["skipped"])
    (wanted,) = {m["loss"] for m in result["numpy-bare"]["rounds"]}
    losses = [m["loss"] for m in result[name]["rounds"]]
    assert losses == pytest.approx([wanted] * 2, rel=0.05)


def test_evaluate_is_the_loss_of_chainrule() -> None:
    for loss in ("squared_error", "cross_entropy"):
        problem = tiny(loss)
        rival = bench("contenders").CONTENDERS["chainrule-numpy"](problem)
        rival.fit()
        loss_of_model = rival.model.evaluate(*problem.data())["loss"]
        assert problem.evaluate(rival.layers()) == pytest.approx(
            loss_of_model, rel=1e-6
        )


def test_a_contender_that_computes_less_is_flagged() -> None:
    training_step = bench("training_step")
    results: dict[str, Any] = {
        name: {"rounds": [{"us": 1.0, "loss": loss}] * 3}
        for name, loss in {
            "chainrule-numpy": 0.5,
            "chainrule-jax": 0.50001,
            "torch-eager": 0.502,
            "scikit-learn": 0.55,
            "keras-jax": 0.9,
        }.items()
    }
    results["limit-numpy"] = {"rounds": [{"us": 1.0}]}
    results["chainrule-cupy"] = {"skipped": "no GPU"}
    training_step.summarise(results)
    training_step.judge(results)
    assert {n: r["loss_agrees"] for n, r in results.items() if "loss_agrees" in r} == {
        "chainrule-numpy": True,
        "chainrule-jax": True,
        "torch-eager": False,
        "scikit-learn": True,
        "keras-jax": False,
    }
    problem = bench("problems").PROBLEMS["1-32-32-1"]
    text = training_step.lines(problem, 1.0, results)
    flagged = [line.split()[0] for line in text.splitlines() if "<- another" in line]
    assert sorted(flagged) == ["keras-jax", "torch-eager"]
    assert "chainrule-cupy skipped: no GPU" in text


def test_ratios_are_those_of_medians_beside_their_bars() -> None:
    common, training_step = bench("common"), bench("training_step")
    times = {
        "chainrule-numpy": [10.0, 12.0, 30.0],
        "scikit-learn": [40.0, 48.0, 50.0],
        "limit-numpy": [9.0, 9.0, 9.0],
        "limit-torch": [8.0, 8.0, 8.0],
    }
    results = {n: {"rounds": [{"us": t} for t in ts]} for n, ts in times.items()}
    problem = bench("problems").PROBLEMS["2048x3"]
    sklearn, limit = training_step.ratios_of(problem, results)
    assert sklearn["ratio"] == "chainrule-numpy / scikit-learn"
    assert (sklearn["value"], sklearn["low"], sklearn["high"]) == (0.25, 0.25, 0.6)
    assert (sklearn["bar"], sklearn["met"]) == (0.65, True)
    assert (limit["value"], limit["bar"], limit["met"]) == (1.5, 1.3, False)
    text = common.ratio_table([sklearn, limit], "problem")
    assert "0.25 <= 0.65" in text
    assert "1.5 >  1.3" in text


def test_limit_multiplies_what_a_step_multiplies() -> None:
    problem = tiny("squared_error")
    seen: list[tuple[int, ...]] = []
    contenders = bench("contenders")

    class Spy(contenders.Limit):  # type: ignore[misc, name-defined]
        def _numpy(self, products: Any) -> Any:
            seen.extend((*a.shape, b.shape[1]) for a, b in products)
            return super()._numpy(products)

    Spy(problem, library="numpy").fit()
    forward = [(8, 2, 5), (8, 5, 4), (8, 4, 3)]
    weights = [(5, 8, 2), (4, 8, 5), (3, 8, 4)]
    inputs = [(8, 4, 5), (8, 3, 4)]  # not to the first layer's
    assert sorted(seen) == sorted(forward + weights + inputs)


@pytest.mark.parametrize("task", ["predict 1 row", "jacobian 1,000 rows"])
def test_inference_is_held_to_a_reference(task: str) -> None:
    inference = bench("inference")
    layers = [(w.astype(float), b + 0.1) for w, b in inference.SMALL.initial()]
    x = np.random.default_rng(0).normal(size=(3, 2))
    network = cr.MLP(inference.SMALL.units[1:], activation="tanh")
    model = cr.Model(network, backend="numpy", dtype="float64").build(2)
    theta = np.concatenate([a.ravel() for pair in layers for a in pair])
    model.set_weights((theta, np.zeros(0)))
    if task.startswith("predict"):
        np.testing.assert_allclose(inference.outputs(x, layers), model.predict(x))
    else:
        np.testing.assert_allclose(inference.jacobian(x, layers), model.jacobian(x))


def test_launches_of_a_step_leave_out_what_a_fit_has_once() -> None:
    launches, problem = bench("launches"), tiny("squared_error")

    def count(epochs: int) -> dict[str, int]:
        return {"kernels": 100 + epochs * (problem.steps * 30 + 8), "copies": 7}

    found = launches.per_step(count, problem)
    assert found == {"kernels": 32.0, "copies": 0.0, "fills": 0.0}


@pytest.mark.gpu
def test_launches_on_a_gpu() -> None:
    """On a GPU: as few launches as were counted by reading."""
    launches, problem = bench("launches"), bench("problems").PROBLEMS["1-32-32-1"]
    try:
        found = launches.prepare(problem._replace(epochs=1), "chainrule-cupy")()
    except bench("common").Missing as reason:
        pytest.skip(str(reason))
    # 30 operations (`test_cupy_stand_in` counts them), of which 8 products and 4 sums
    # may each take two kernels, and the epoch's own. Where nothing is fused or gathered
    # they are 48.
    assert found["kernels"] <= 30 + 8 + 4 + 1


def test_launches_are_what_cupti_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = types.SimpleNamespace(CONCURRENT_KERNEL=10, MEMCPY=1, MEMSET=2)
    enabled: set[int] = set()
    waiting: list[int] = []
    notes: list[Any] = []

    def flush(flag: int) -> None:
        notes[0]([types.SimpleNamespace(kind=kind) for kind in waiting])
        waiting.clear()

    def launch(kind: int) -> None:
        waiting.extend([kind] if kind in enabled else [])

    cupti = types.SimpleNamespace(
        ActivityKind=kinds,
        activity_register_callbacks=lambda _, note: notes.append(note),
        activity_enable=enabled.add,
        activity_disable=enabled.remove,
        activity_flush_all=flush,
    )
    package: Any = types.ModuleType("cupti")
    package.cupti = cupti
    package.__spec__ = importlib.machinery.ModuleSpec("cupti", None)
    monkeypatch.setitem(sys.modules, "cupti", package)
    trace = bench("launches").Trace()
    launch(10)
    trace.start()
    for kind in (10, 10, 1, 2, 10):
        launch(kind)
    assert trace.stop() == {"kernels": 3, "copies": 1, "fills": 1}
    launch(10)
    trace.start()
    assert trace.stop() == {}


def test_slopes() -> None:
    sizes = [1, 10, 100]
    slopes = bench("scaling").slopes(sizes, [3.0, 30.0, 3000.0])
    assert slopes == {"all": pytest.approx(1.5), "last": pytest.approx(2.0)}
    assert bench("scaling").slopes([1], [3.0]) is None


def test_collectives_are_read_from_a_compiled_program() -> None:
    devices = bench("devices")
    text = """
  %a = f32[132]{0} all-gather(%x), metadata={op_name="jit(f)/shard_map/while/body/a"}
  %b = f32[33]{0} reduce-scatter(%a), metadata={op_name="jit(f)/shard_map/while/body/b"}
  %c = (f32[4,2]{1,0}, pred[]) all-reduce(%b, %d), metadata={op_name="jit(f)/while/c"}
  %e = f32[] get-tuple-element(%c), index=0, metadata={op_name="jit(f)/all-reduce(/e"}
"""
    found = devices.collectives(text)
    assert found == [
        ("all-gather", 528, True),
        ("reduce-scatter", 132, True),
        ("all-reduce", 33, False),
    ]
    assert [each.sent(4) for each in found] == [396, 396, 49.5]


RUNS = {
    "training_step": [
        *("--problems", "1-32-32-1", "--epochs", "1"),
        *("--contenders", "chainrule-numpy", "numpy-bare", "chainrule-cupy"),
    ],
    "inference": [
        *("--tasks", "predict 1 row"),
        *("--contenders", "chainrule-numpy", "numpy-bare"),
    ],
    "startup": [
        *("--quantities", "import", "first step"),
        *("--contenders", "numpy", "chainrule", "chainrule-numpy"),
    ],
    "scaling": ["--axes", "depth", "--backends", "numpy", "--points", "2"],
    "launches": ["--problems", "1-32-32-1"],
    "devices": ["--networks", "1-32-32-1", "--devices", "1", "2"],
    "precision": [
        *("--problem", "1-32-32-1", "--epochs", "1"),
        *("--contenders", "chainrule-numpy-tf32"),
    ],
}


@pytest.mark.parametrize("script", RUNS)
def test_scripts_write_their_results(script: str, tmp_path: Path) -> None:
    out = tmp_path / "results" / f"{script}.json"
    command = [sys.executable, str(FOLDER / f"{script}.py"), "--rounds", "1"]
    done = subprocess.run(
        [*command, "--out", str(out), *RUNS[script]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["benchmark"] == script
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["cpu"]
    assert report["versions"]["numpy"] == np.__version__
    CHECKS[script](report, done.stdout, out)


def _training_step(report: Any, printed: str, out: Path) -> None:
    contenders = report["problems"]["1-32-32-1"]["contenders"]
    for name in ("chainrule-numpy", "numpy-bare"):
        assert contenders[name]["us"]["median"] > 0
        assert contenders[name]["loss_agrees"]
    cupy = contenders["chainrule-cupy"]
    if "skipped" in cupy:
        assert f"chainrule-cupy skipped: {cupy['skipped']}" in printed
    (record,) = [r for r in report["ratios"] if r["ratio"].endswith("numpy-bare")]
    assert record["bar"] == 1.2
    if here("matplotlib"):
        assert out.with_suffix(".png").stat().st_size > 10_000


def _inference(report: Any, printed: str, out: Path) -> None:
    found = report["tasks"]["predict 1 row"]["chainrule-numpy"]
    assert found["us"]["min"] <= found["us"]["median"] <= found["us"]["max"]
    assert found["agrees"]
    assert [r["ratio"] for r in report["ratios"]] == ["chainrule-numpy / 12 µs"]


def _startup(report: Any, printed: str, out: Path) -> None:
    quantities = report["quantities"]
    assert set(quantities["import"]["contenders"]) == {"numpy", "chainrule"}
    assert quantities["first step"]["contenders"]["chainrule-numpy"]["median"] > 0
    (record,) = report["ratios"]
    assert (record["ratio"], record["bar"]) == ("chainrule / numpy", 1.3)


def _scaling(report: Any, printed: str, out: Path) -> None:
    curve = report["axes"]["depth"]["numpy"]
    assert [point["size"] for point in curve["points"]] == [1, 2]
    assert np.isfinite(curve["slope"]["last"])
    if here("matplotlib"):
        assert out.with_suffix(".png").stat().st_size > 10_000


def _launches(report: Any, printed: str, out: Path) -> None:
    for name, found in report["problems"]["1-32-32-1"]["contenders"].items():
        if "skipped" in found:  # no GPU, or no CUPTI
            assert f"{name} skipped: {found['skipped']}" in printed
        else:
            assert found["kernels"]["median"] > 0


def _devices(report: Any, printed: str, out: Path) -> None:
    one, two = report["networks"]["1-32-32-1"].values()
    if "skipped" in one:  # no JAX
        assert f"1 on 1-32-32-1 skipped: {one['skipped']}" in printed
        return
    assert one["cpu"]["median"] > 0
    (alone,), (shared,) = one["rounds"], two["rounds"]
    assert (alone["collectives"], alone["sent"]) == ({}, 0)
    assert shared["collectives"] == {"all-gather": 1, "reduce-scatter": 1}
    # Half of θ, filled up to an even number of them, each way.
    assert shared["sent"] == 4 * 2 * (shared["parameters"] + 1) / 2
    assert shared["arguments"] < alone["arguments"]


def _precision(report: Any, printed: str, out: Path) -> None:
    reason = report["contenders"]["chainrule-numpy-tf32"]["skipped"]
    assert "precision" in reason
    assert reason in printed


CHECKS = {
    "training_step": _training_step,
    "inference": _inference,
    "startup": _startup,
    "scaling": _scaling,
    "launches": _launches,
    "devices": _devices,
    "precision": _precision,
}


def test_estimators_end_where_scikit_learn_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    if not here("jax"):
        pytest.skip("JAX is one of the contenders")
    script = bench("estimators")
    rng = np.random.default_rng(0)
    x, params = rng.normal(size=(40, 2)), {**script.FOREVER, "max_iter": 3}
    tiny = {
        "tiny": ("MLPRegressor", x, x[:, 0], {**params, "hidden_layer_sizes": (4,)})
    }
    monkeypatch.setattr(script, "PROBLEMS", tiny)
    assert script.main(["--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" ms ") == 3
    right = script.ours.MLPRegressor

    def other(**options: Any) -> Any:
        return right(**{**options, "random_state": 1})

    monkeypatch.setattr(script.ours, "MLPRegressor", other)
    assert script.main(["--rounds", "1"]) == 1
    assert capsys.readouterr().out.count("ENDS ELSEWHERE") == 2
