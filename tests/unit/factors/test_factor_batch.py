"""Many factors at once: equal to the bit, what is shared computed once, memory bounded."""

import gc
import sys
import tracemalloc

import numpy as np
import pytest

from alphamill.factors import FactorError, compute, compute_many, parse, zoo
from alphamill.factors.kernels import table

FAMILY = [
    f"{outer}(ts_corr(rank(close), rank(volume), {window}) * ts_std(returns, {window}){tail}"
    for window in (5, 10)
    for outer, tail in (("rank", ")"), ("-(", "))"), ("ts_rank", ", 9)"), ("abs", ")"))
]


def same(one, other):
    return np.array_equal(one, other, equal_nan=True)


def test_a_batch_gives_what_each_gives_alone(make_market, groups):
    panel = make_market(n_bars=120)
    factors = [entry.factor() for entry in zoo("alpha101")]
    found = dict(compute_many(factors, panel, groups))
    assert sorted(found) == list(range(101))
    for index, values in found.items():
        assert same(values, compute(factors[index], panel, groups)), factors[index]


@pytest.mark.parametrize("kept", [1, 2, 12])
def test_a_small_memory_changes_nothing(kept, panel, monkeypatch):
    monkeypatch.setattr(sys.modules["alphamill.factors.compute"], "KEPT_COLUMNS", kept)
    factors = [parse(text) for text in [*FAMILY, "close", "returns", "rank(close)", *FAMILY]]
    for index, values in compute_many(factors, panel):
        assert same(values, compute(factors[index], panel)), factors[index]


def test_what_is_handed_out_is_the_caller_s(panel):
    factors = [parse(text) for text in ("rank(close)", "rank(close)", "close", "-rank(close)")]
    want = [compute(factor, panel) for factor in factors]
    before = panel["close"].copy()
    for index, values in compute_many(factors, panel):
        assert same(values, want[index])
        values[:] = 7.0
    assert same(panel["close"], before)


def test_what_is_shared_is_computed_once(panel, monkeypatch):
    calls = []
    real = dict(table.WINDOW)
    counted = {name: lambda *a, n=name: calls.append(n) or real[n](*a) for name in real}
    monkeypatch.setattr(table, "WINDOW", counted)
    for _ in compute_many([parse(text) for text in FAMILY], panel):
        pass
    assert calls.count("ts_corr") == 2
    assert calls.count("ts_std") == 2
    assert calls.count("pct_change") == 1


def test_a_missing_field_stops_the_batch_before_it_starts(panel):
    factors = [parse("rank(close)"), parse("rank(cap)", fields=["cap"])]
    without = {name: values for name, values in panel.items() if name != "cap"}
    with pytest.raises(FactorError, match="no field 'cap'"):
        next(iter(compute_many(factors, without)))
    assert list(compute_many([], panel)) == []


def test_memory_beyond_the_panel_is_under_twenty_of_its_fields(make_market, groups):
    """Measured at a size where the kernels' own blocks do not count."""
    panel = make_market(n_bars=20_000, n_symbols=12, holes=False)
    factors = [entry.factor() for entry in zoo("alpha101")[::4]]
    for _ in compute_many(factors, {k: v[:400] for k, v in panel.items()}, groups):
        pass  # compiled by now
    field = panel["close"].nbytes
    gc.collect()
    tracemalloc.start()
    for _ in compute_many(factors, panel, groups):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * field, peak / field
