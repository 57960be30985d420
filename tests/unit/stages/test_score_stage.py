"""Given expressions over the whole range: the zoo, groups, and reasons for what has no score."""

import numpy as np
import pytest

from alphamill import testing
from alphamill.evaluation import Segment, deflated_sharpe_ratio
from alphamill.factors import zoo
from alphamill.frames import Interval
from alphamill.jobs import RunKind, RunSpec, ScoreJob
from alphamill.runs.panels import (
    PanelManifest,
    SegmentFacts,
    field_key,
    write_field,
    write_manifest,
)
from alphamill.runs.schemas import RunDeps, read_trials
from alphamill.stages import score

H1, BARS = Interval.H1, 400
SYMBOLS = tuple(f"{letter}{letter}USDT" for letter in "ABCDEF")


def fields():
    rng = np.random.default_rng(4)
    shape = (BARS, len(SYMBOLS))
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, shape), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.003, shape))
    volume = rng.lognormal(5, 1, shape)
    return {
        "open": open_,
        "high": np.maximum(open_, close) * 1.002,
        "low": np.minimum(open_, close) * 0.998,
        "close": close,
        "volume": volume,
        "quote_volume": volume * close,
    }


def spec_of(**changes):
    whole = {"start_ms": 0, "end_ms": BARS * H1.ms}
    return testing.spec_of(*SYMBOLS, kind=RunKind.EVALUATE, **whole | changes)


def scored(lake, spec):
    """The run's rows, over a panel put there by hand."""
    times_ms = H1.ms * np.arange(BARS, dtype=np.int64)
    digests = {
        name: write_field(
            lake, field_key(spec.run_id, H1, Segment.WHOLE, name), times_ms, SYMBOLS, values
        )
        for name, values in fields().items()
    }
    whole = SegmentFacts(0, BARS, 0, 0, digests)
    write_manifest(lake, spec.run_id, PanelManifest(H1, SYMBOLS, (), "x", {Segment.WHOLE: whole}))
    score.run(ScoreJob(H1), RunDeps(lake, spec.run_id, spec))
    rows = read_trials(lake, spec.run_id, H1)
    return {row.proposed: row for row in rows}


def test_the_whole_zoo_is_scored_by_name_and_what_cannot_be_says_why(lake):
    entries = zoo("alpha101")
    spec = spec_of(
        expressions=tuple(entry.expression for entry in entries),
        names=tuple(entry.name for entry in entries),
    )
    rows = scored(lake, RunSpec.from_message(spec.to_message()))
    assert {rows[entry.expression].hypothesis for entry in entries} == {
        entry.name for entry in entries
    }
    by_name = {row.hypothesis: row for row in rows.values()}
    assert by_name["alpha101_056"].status == "invalid"
    assert "the run's panel has no field 'cap'" in by_name["alpha101_056"].reason
    silent = {name for name, row in by_name.items() if row.status != "evaluated"}
    assert len(silent) < 15, silent
    assert all(by_name[name].reason for name in silent)
    assert "price" in by_name["alpha101_041"].reason  # sqrt(high * low) - vwap: not comparable


def test_a_table_of_groups_is_used_and_without_one_all_are_one_group(lake):
    text = "group_rank(returns, sector)"
    alone = scored(lake, spec_of(expressions=(text, "rank(returns)", "group_rank(returns, moon)")))
    assert alone[text].discovery.rank_ic_mean == alone["rank(returns)"].discovery.rank_ic_mean
    assert "no group table 'moon'" in alone["group_rank(returns, moon)"].reason
    sectors = {symbol: "ab"[at % 2] for at, symbol in enumerate(SYMBOLS)}
    grouped = scored(lake, spec_of(expressions=(text,), groups={"sector": sectors}))
    assert grouped[text].discovery.rank_ic_mean != alone[text].discovery.rank_ic_mean


def test_each_sharpe_ratio_stands_beside_its_trials_and_what_luck_leaves_of_it(lake):
    texts = ("-returns", "rank(volume)", "close / open", "sign(close) * 0", "rank(")
    rows = scored(lake, spec_of(expressions=texts))
    good = [rows[text] for text in texts[:3]]
    assert {row.n_trials for row in rows.values()} == {8}  # four that parse, in two directions
    for row in good:
        one = row.score
        expected = deflated_sharpe_ratio(
            one.gross_sharpe_per_bar, 1 / (one.n_obs - 1), 8, one.n_obs, one.skew, one.kurtosis
        )
        assert row.deflated_sharpe == pytest.approx(expected, rel=1e-12)
        assert row.deflated_sharpe < 0.95  # of noise
    assert [rows[text].deflated_sharpe for text in texts[3:]] == [None, None]
    alone = scored(lake, spec_of(expressions=("-returns",)))["-returns"]
    assert alone.n_trials == 2
    assert alone.deflated_sharpe > rows["-returns"].deflated_sharpe
