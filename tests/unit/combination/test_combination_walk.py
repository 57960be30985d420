"""Weights that see only what had matured, and signals that the factor language can say."""

import numpy as np
import pytest

from alphamill.combination import (
    COMBINED_BOUNDS,
    Combiner,
    FactorRanks,
    frozen_expression,
    refit_schedule,
    walk_forward,
    walk_forward_each,
)
from alphamill.combination.statistics import factor_ic
from alphamill.combination.walk import combined_signal
from alphamill.evaluation import forward_returns, information_coefficient
from alphamill.factors import compute, parse

HOUR_MS = 3_600_000
HORIZON, LAG = 3, 1
N_BARS, N_SYMBOLS = 260, 9
TIMES = 1_700_000_000_000 // HOUR_MS * HOUR_MS + HOUR_MS * np.arange(N_BARS)
COMBINERS = [
    Combiner("equal"),
    Combiner("ic"),
    Combiner("ic", half_life_bars=40),
    Combiner("icir_shrunk", prior_labels=30),
    Combiner("ridge", half_life_bars=60),
    Combiner("ridge", turnover_bps=0),
    Combiner("lasso"),
]
LEARN = [one for one in COMBINERS if one.method != "equal"]
EXPRESSIONS = [
    "close / ts_mean(close, 5)",
    "-(returns - ts_mean(returns, 8))",
    "volume / ts_mean(volume, 6)",
    "log(returns)",  # without a value at every fall of a price
]
DIRECTIONS = [1, -1, 1, -1]


def market(seed=0):
    """Bars with holes and a symbol that is delisted, and who belongs."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(rng.normal(0, 0.01, (N_BARS, N_SYMBOLS)).cumsum(axis=0))
    panel = {
        "open": np.vstack([close[:1], close[:-1]]),
        "close": close,
        "volume": np.exp(rng.normal(0, 1, close.shape)),
    }
    members = np.ones(close.shape, dtype=bool)
    members[:90, 2] = False
    for field in panel.values():
        field[200:, 5] = np.nan
        field[120:123, 3] = np.nan
    return panel, members


@pytest.fixture(scope="module")
def made():
    panel, members = market()
    values = [compute(parse(text), panel, members=members) for text in EXPRESSIONS]
    labels = forward_returns(panel, HORIZON, LAG)
    labels[~members] = np.nan
    ranks = FactorRanks.of(values, DIRECTIONS)
    schedule = refit_schedule(TIMES, 24 * HOUR_MS, 60, HORIZON + LAG)
    return panel, members, values, labels, ranks, schedule


# --- the calendar


def test_a_refit_knows_the_labels_that_ended_by_its_bar(made):
    _, _, _, _, _, schedule = made
    first = TIMES // (24 * HOUR_MS)
    starts = [t for t in range(1, N_BARS) if first[t] != first[t - 1] and t + 1 - 4 >= 60]
    assert schedule.bars.tolist() == starts
    # The label of bar t is the return from the open of t + 1 to that of t + 4.
    assert (schedule.matured - 1 + HORIZON + LAG).tolist() == starts
    assert schedule.times_ms.tolist() == TIMES[starts].tolist()


@pytest.mark.parametrize("cut", [slice(7, None), slice(0, 200)])
def test_the_calendar_depends_on_neither_end_of_the_data(made, cut):
    schedule = made[-1]
    other = refit_schedule(TIMES[cut], 24 * HOUR_MS, 60, HORIZON + LAG)
    assert set(other.times_ms.tolist()) <= set(schedule.times_ms.tolist())
    assert len(other) >= len(schedule) - 3


@pytest.mark.parametrize(
    ("refit_ms", "train", "purge", "says"),
    [
        (1000 * HOUR_MS, 60, 4, "a refit every 41.6667d is longer than the data, which is 10.83"),
        (HOUR_MS // 2, 60, 4, "a refit every 30m is shorter than a bar of 1h"),
        (24 * HOUR_MS, 5000, 4, "hold no refit every 1d after 5000 bars of training"),
        (24 * HOUR_MS, 0, 4, "must be 1 or more"),
        (24 * HOUR_MS, 60, 0, "must be 1 or more"),
    ],
)
def test_a_calendar_that_cannot_be_says_why(refit_ms, train, purge, says):
    with pytest.raises(ValueError, match=says):
        refit_schedule(TIMES, refit_ms, train, purge)


def test_bars_out_of_order_make_no_calendar():
    with pytest.raises(ValueError, match="in order of time"):
        refit_schedule(TIMES[::-1], 24 * HOUR_MS, 60, 4)


# --- ranks


def test_ranks_are_what_the_language_says(made):
    panel, members, values, _, ranks, _ = made
    for index, (text, direction) in enumerate(zip(EXPRESSIONS, DIRECTIONS, strict=True)):
        said = compute(parse(f"demean(rank({text}))"), panel, members=members)
        np.testing.assert_allclose(ranks.series(index), direction * said, rtol=0, atol=1e-15)
        assert np.array_equal(ranks.present(slice(None), [index])[0], np.isfinite(values[index]))


@pytest.mark.parametrize("n_symbols", [127, 128])
def test_as_many_symbols_as_a_byte_holds_and_one_more(n_symbols):
    values = np.arange(float(2 * n_symbols)).reshape(2, n_symbols)
    values[1, 0] = np.nan
    ranks = FactorRanks.of([values], [-1])
    ends = (n_symbols - 1) / (2 * n_symbols)
    assert ranks.series(0)[0, [0, -1]].tolist() == pytest.approx([ends, -ends], abs=1e-15)
    assert np.isnan(ranks.series(0)[1, 0])
    ranks.reverse(0)
    assert ranks.series(0)[0, [0, -1]].tolist() == pytest.approx([-ends, ends], abs=1e-15)
    assert np.isnan(ranks.series(0)[1, 0])


def test_ranks_on_disk_are_those_in_memory(made, tmp_path):
    _, _, values, _, ranks, _ = made
    with (tmp_path / "ranks").open("w+b") as file:
        kept = FactorRanks(*ranks.shape, file=file)
        # All of it is there already: a full disk would have been told.
        assert (tmp_path / "ranks").stat().st_blocks * 512 >= np.prod(ranks.shape)
        for index, own in enumerate(values):
            kept.put(index, own, DIRECTIONS[index])
        assert np.array_equal(kept.read(slice(None)), ranks.read(slice(None)))
        assert (tmp_path / "ranks").stat().st_size == np.prod(ranks.shape)


def test_a_factor_without_ranks_is_not_read():
    ranks = FactorRanks(2, 3, 4)
    ranks.put(0, np.ones((3, 4)))
    with pytest.raises(ValueError, match="put every factor"):
        ranks.read(slice(None))
    with pytest.raises(ValueError, match="do not fit"):
        ranks.put(1, np.ones((3, 5)))


# --- walking forward


def test_nothing_is_said_before_the_first_refit(made):
    *_, labels, ranks, schedule = made
    for walked in walk_forward_each(ranks, labels, COMBINERS, schedule, HORIZON):
        assert np.isnan(walked.signal[: schedule.first_bar]).all()
        assert np.isfinite(walked.signal[schedule.first_bar]).any()
        assert np.abs(walked.weights).sum(axis=1) == pytest.approx(np.ones(len(schedule)))


@pytest.mark.parametrize("combiner", LEARN, ids=lambda one: one.text)
def test_a_refit_sees_no_label_that_had_not_matured(made, combiner):
    *_, labels, ranks, schedule = made
    before = walk_forward(ranks, labels, combiner, schedule, HORIZON)
    rng = np.random.default_rng(1)
    for refit in (0, len(schedule) // 2, len(schedule) - 1):
        late = labels.copy()
        matured = schedule.matured[refit]
        late[matured:] = rng.normal(0, 10, late[matured:].shape)
        after = walk_forward(ranks, late, combiner, schedule, HORIZON)
        assert np.array_equal(after.weights[: refit + 1], before.weights[: refit + 1])
        assert np.array_equal(after.scales[: refit + 1], before.scales[: refit + 1])
        # And it does see the last one that had: a bar less of purge would have shown.
        late[matured - 1] = 10 * rng.normal(size=N_SYMBOLS)
        seen = walk_forward(ranks, late, combiner, schedule, HORIZON)
        assert not np.array_equal(seen.weights[refit], before.weights[refit])


@pytest.mark.parametrize("combiner", COMBINERS, ids=lambda one: one.text)
def test_weights_and_signal_do_not_depend_on_later_bars(made, combiner):
    """A panel that ends earlier gives the same signal, so live goes on where a test ended."""
    _, _, values, labels, ranks, schedule = made
    whole = walk_forward(ranks, labels, combiner, schedule, HORIZON)
    end = 215
    part = walk_forward(
        FactorRanks.of([one[:end] for one in values], DIRECTIONS),
        labels[:end],
        combiner,
        refit_schedule(TIMES[:end], 24 * HOUR_MS, 60, HORIZON + LAG),
        HORIZON,
    )
    np.testing.assert_allclose(part.signal, whole.signal[:end], rtol=0, atol=1e-12)


@pytest.mark.parametrize("combiner", COMBINERS, ids=lambda one: one.text)
def test_frozen_weights_say_the_signal_in_the_language(made, combiner):
    panel, members, _, labels, ranks, schedule = made
    walked = walk_forward(ranks, labels, combiner, schedule, HORIZON)
    for refit, span in schedule.spans():
        text = frozen_expression(walked.weights[refit], EXPRESSIONS, DIRECTIONS, combiner)
        factor = parse(text, bounds=COMBINED_BOUNDS)
        assert parse(factor.text, bounds=COMBINED_BOUNDS) == factor
        said = compute(factor, panel, members=members)
        np.testing.assert_allclose(said[span], walked.signal[span], rtol=0, atol=1e-12)
        there = np.isfinite(said[span])
        assert (said[span] == walked.signal[span])[there].mean() > 0.99
    assert np.isnan(walked.signal[schedule.first_bar :]).any()


def test_a_missing_factor_is_neutral_and_none_at_all_is_no_value(made):
    *_, labels, ranks, schedule = made
    signal = walk_forward(ranks, labels, Combiner("equal"), schedule, HORIZON).signal
    there = ranks.present(slice(None))
    row = schedule.first_bar + 1
    some = there[:, row].any(axis=0) & ~there[:, row].all(axis=0)
    assert some.any()
    filled = np.where(there[:, row], ranks.read(slice(row, row + 1))[:, 0], 0.0).mean(axis=0)
    np.testing.assert_allclose(signal[row, some], filled[some], rtol=0, atol=1e-12)
    assert np.isnan(signal[210, 5])


def test_equal_sums_of_ranks_tie():
    """Six orders of three symbols, each once: every symbol has the same sum, in another order."""
    orders = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]], float)
    values = np.repeat(orders[:, None, :], N_BARS, axis=1)
    weights = np.full((1, 6), 1 / 6)
    schedule = refit_schedule(TIMES, 10 * 24 * HOUR_MS, 1, HORIZON + LAG)
    assert (combined_signal(FactorRanks.of(values, [1] * 6), weights, schedule)[-1] == 0).all()


def test_fifty_factors_freeze_to_one_expression(made):
    panel, members, *_ = made
    texts = [f"close / ts_mean(close, {window})" for window in range(2, 52)]
    weights = np.linspace(-1, 1, 50) / 25
    factor = parse(frozen_expression(weights, texts, [1] * 50), bounds=COMBINED_BOUNDS)
    ranks = FactorRanks.of(
        [compute(parse(text), panel, members=members) for text in texts], [1] * 50
    )
    said = compute(factor, panel, members=members)[factor.lookback_bars :]
    wanted = np.tensordot(weights, ranks.read(slice(factor.lookback_bars, None)), axes=1)
    there = np.isfinite(said)
    assert there.mean() > 0.8
    np.testing.assert_allclose(said[there], wanted[there], rtol=0, atol=1e-12)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [np.nan, 1.0]])
def test_weights_that_say_nothing_are_not_frozen(weights):
    with pytest.raises(ValueError, match="nothing to freeze"):
        frozen_expression(np.array(weights), ["close / open", "returns"], [1, 1])


def test_trees_have_no_formula():
    with pytest.raises(ValueError, match="freeze equal, ic, icir_shrunk, ridge or lasso instead"):
        frozen_expression(np.ones(1), ["returns"], [1], Combiner("lightgbm"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": np.ones((3, 4))}, "do not fit ranks"),
        ({"horizon_bars": HORIZON + LAG + 1}, "make it of horizon"),
        ({"schedule": refit_schedule(TIMES[:-1], 24 * HOUR_MS, 60, 4)}, "does not fit"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(made, change, says):
    *_, labels, ranks, schedule = made
    given = {"labels": labels, "schedule": schedule, "horizon_bars": HORIZON} | change
    with pytest.raises(ValueError, match=says):
        walk_forward(ranks, combiner=Combiner("ic"), **given)


# --- what the weights are


def test_the_ic_of_ranks_is_that_of_values(made):
    _, _, values, labels, ranks, _ = made
    found = factor_ic(ranks, labels)
    for index, own in enumerate(values):
        wanted = DIRECTIONS[index] * information_coefficient(own, labels)
        np.testing.assert_allclose(found[index], wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("half_life", [np.inf, 40.0])
def test_ic_weights_are_mean_rank_ics_of_matured_labels(made, half_life):
    _, _, values, labels, ranks, schedule = made
    combiner = Combiner("ic", half_life_bars=half_life)
    walked = walk_forward(ranks, labels, combiner, schedule, HORIZON)
    for refit, matured in enumerate(schedule.matured.tolist()):
        fade = 0.5 ** (np.arange(matured)[::-1] / half_life)
        means = []
        for own, direction in zip(values, DIRECTIONS, strict=True):
            ic = direction * information_coefficient(own, labels)[:matured]
            known = np.isfinite(ic)
            means.append((ic[known] * fade[known]).sum() / fade[known].sum())
        wanted = np.array(means) / np.abs(means).sum()
        np.testing.assert_allclose(walked.weights[refit], wanted, rtol=1e-10)


def test_icir_weights_leave_the_prior_as_labels_mature(made):
    _, _, values, labels, ranks, schedule = made
    combiner = Combiner("icir_shrunk", prior_labels=30)
    walked = walk_forward(ranks, labels, combiner, schedule, HORIZON)
    matured = int(schedule.matured[-1])
    ics = [information_coefficient(own, labels)[:matured] for own in values]
    ics = [d * ic[np.isfinite(ic)] for d, ic in zip(DIRECTIONS, ics, strict=True)]
    ratio = np.array([ic.mean() / ic.std(ddof=1) for ic in ics])
    n = np.array([len(ic) / HORIZON for ic in ics])
    share = n / (n + 30)
    raw = share * ratio / np.abs(ratio).sum() + (1 - share) / len(ics)
    np.testing.assert_allclose(walked.weights[-1], raw / np.abs(raw).sum(), rtol=1e-10)
    prior = Combiner("icir_shrunk", prior_labels=1e15)
    equal = walk_forward(ranks, labels, prior, schedule, HORIZON).weights
    np.testing.assert_allclose(equal, 0.25, rtol=1e-9)
