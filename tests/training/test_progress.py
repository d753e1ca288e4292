"""The bar of a fit: what it says last, and that it never ends a fit."""

from __future__ import annotations

import io
import sys
import types
import warnings
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.callbacks import LambdaCallback
from chainrule.training import progress

from tests.support.models import standing

X = np.random.default_rng(0).normal(size=(24, 3))
Y = X[:, :2] * 2.0


def _fit(model: cr.Model, **options: Any) -> cr.History:
    given = {"epochs": 5, "batch_size": 8, "progress": True, **options}
    return model.fit(X, Y, **given)


def _model(**options: Any) -> cr.Model:
    return cr.Model(cr.MLP((4, 2)), backend="numpy", **options)


class Breaks(io.StringIO):
    """A terminal that takes so many writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes -= 1
        if self.writes < 0:
            raise BrokenPipeError(32, "Broken pipe")
        return len(text)


def _closed() -> Any:
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS: dict[str, Any] = {
    "none": lambda: None,
    "closed": _closed,
    "without isatty": lambda: types.SimpleNamespace(
        write=lambda text: None, flush=lambda: None
    ),
    "nothing of a stream": object,
    **{f"breaks after {n}": lambda n=n: Breaks(n) for n in range(0, 9, 2)},
}


@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("shown", [None, True])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_takes_no_bar(
    name: str, shown: Any, listening: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.ProgressBar, "SECONDS", 0.0)
    model, twin = _model(), _model()
    checks = {"validation_data": (X, Y)} if listening else {}
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", STREAMS[name]())
        history = _fit(model, progress=shown, **checks)
    assert history == _fit(twin, progress=False, **checks)
    assert standing(model).epoch == model.history.epochs == 5
    np.testing.assert_array_equal(model.get_weights()[0], twin.get_weights()[0])


def _last(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.rstrip().rpartition("\r")[2]


@pytest.mark.parametrize("listening", [True, False])
def test_the_last_line_is_of_the_last_epoch(
    listening: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """However the fit ends, and though the bar is drawn now and then only."""
    model = _model()
    checks = {"validation_data": (X, Y)} if listening else {}
    history = _fit(model, epochs=7, **checks)
    line = _last(capsys)
    assert "epoch 7/7" in line
    assert all(f"{k}={v[-1]:.3g}" in line for k, v in history.items())


def test_the_last_line_after_early_stopping(capsys: pytest.CaptureFixture[str]) -> None:
    model = _model()

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = epoch == 3

    hooks = [LambdaCallback(on_epoch_end=stop)]
    history = _fit(model, epochs=90, callbacks=hooks, validation_data=(X, Y))
    line = _last(capsys)
    assert "epoch 4/90" in line
    assert "12/270" in line
    assert f"val_loss={history['val_loss'][-1]:.3g}" in line


def test_the_last_line_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    model = _model()

    def stop(epoch: int, logs: Any) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    history = _fit(model, epochs=9, callbacks=[LambdaCallback(on_epoch_end=stop)])
    line = _last(capsys)
    assert "epoch 3/9" in line
    assert f"loss={history['loss'][-1]:.3g}" in line
    assert "interrupted" in line


@pytest.mark.parametrize("hooks", [(), (LambdaCallback(),)])
def test_the_last_line_after_a_divergence(
    hooks: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.linspace(-1.0, 1.0, 24)[:, None]
    model = cr.Model(cr.Dense(1), optimizer=cr.SGD(30.0), backend="numpy")
    with pytest.raises(cr.DivergenceError) as caught:
        model.fit(x, x**2, epochs=200, batch_size=8, callbacks=hooks, progress=True)
    line = _last(capsys)
    assert f"epoch {caught.value.epochs}/200" in line
    assert f"loss={model.history['loss'][-1]:.3g}" in line


def test_a_notebook_without_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """tqdm.auto would warn that it lacks ipywidgets; a bar of text needs none."""
    import tqdm.std

    monkeypatch.setitem(
        sys.modules, "ipykernel.zmqshell", types.ModuleType("ipykernel.zmqshell")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert progress._tqdm() is tqdm.std.tqdm
