"""Frames of pandas and polars as samples, targets and weights."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from tests.support.inputs import (
    CE,
    LABELS,
    WEIGHT,
    Type,
    Value,
    X,
    Y,
    new_model,
    outcome,
    refused,
)


def test_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abc"), index=range(100, 124))
    assert outcome(frame, pandas.DataFrame(Y)) == outcome(X, Y)
    mixed = frame.assign(a=frame["a"].astype(int))
    series = pandas.Series(LABELS, index=range(7, 31))
    weight = pandas.Series(WEIGHT)
    assert outcome(mixed, series, CE, sample_weight=weight) == outcome(
        X, LABELS, CE, sample_weight=WEIGHT
    )
    text = frame.assign(a="x")
    refused(lambda: outcome(text, Y), Type, "^x must hold numbers.*dtype object")
    # Columns of several kinds, and pandas' own, as long as nothing is missing.
    several = frame.assign(a=frame["a"] > 1, b=frame["b"].astype("Int64"))
    plain = np.column_stack([X[:, 0] > 1, X[:, 1], X[:, 2]])
    assert outcome(several, Y) == outcome(plain, Y)
    assert outcome(frame.astype("Int64"), Y) == outcome(X, Y)
    assert outcome(frame.astype("Float64"), Y) == outcome(X, Y)
    assert outcome(frame, series.astype("Int64"), CE) == outcome(X, LABELS, CE)
    model = new_model()
    for wrong, error, match in (
        (frame.astype("Int64").mask(frame > 2), Value, "^x must be finite.*first nan"),
        (several.assign(b=several["b"].mask(frame["b"] > 2)), Value, "^x must be fin"),
        ((frame > 1).astype("boolean").mask(frame > 2), Value, "^x must be finite"),
        (frame.astype(object).mask(frame > 2, None), Type, "^x .*dtype object"),
        (frame.assign(a=pandas.Timestamp("2020")), Type, "^x must hold numbers"),
        (frame.assign(a=pandas.Timedelta("1s")), Type, "^x must hold numbers"),
        (frame.assign(a=pandas.array(["x"] * 24, "string")), Type, "^x must hold"),
        (frame + 1j, Type, "^x must hold numbers.*complex128"),
    ):
        refused(functools.partial(model.fit, wrong, Y), error, match, model)
    hole = series.astype("Int64").mask(series > 0)
    refused(lambda: outcome(frame, hole, CE), Value, "^y must be finite")
    gap = frame.copy()
    gap.iloc[0, 0] = math.nan
    refused(lambda: outcome(gap, Y), Value, "^x must be finite; got 1 values")


def test_polars_frames() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(X, schema=list("abc"))
    assert outcome(frame, polars.DataFrame(Y)) == outcome(X, Y)
    several = frame.with_columns(
        polars.col("a") > 1, polars.col("b").cast(polars.Int16)
    )
    plain = np.column_stack([X[:, 0] > 1, X[:, 1], X[:, 2]])
    assert outcome(several, Y) == outcome(plain, Y)
    series = polars.Series(LABELS)
    assert outcome(frame, series, CE) == outcome(X, LABELS, CE)
    model = new_model()
    date = polars.date(2020, 1, 1)
    column = polars.col("a")
    empty = polars.when(column > 2).then(None).otherwise(column)
    for wrong, error, match in (
        (frame.with_columns(a=empty), Value, "^x must be finite.*first nan"),
        (frame.with_columns(a=empty.cast(polars.Int32)), Value, "^x must be finite"),
        (frame.with_columns(a=date), Type, "^x must hold.*a column of dtype Date"),
        (frame.with_columns(a=polars.lit("x")), Type, "^x must .*dtype String"),
        (frame.with_columns(a=polars.duration(days=1)), Type, "^x .*dtype Duration"),
        (frame.lazy(), Type, "^x must be an array of numbers.*got LazyFrame"),
    ):
        refused(functools.partial(model.fit, wrong, Y), error, match, model)
    hole = polars.Series([None, *LABELS[1:].tolist()])
    refused(lambda: outcome(frame, hole, CE), Value, "^y must be finite")
