"""What belongs to every figure of a run: its cost, its looks at the holdout, its survivors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from alphamill.evaluation import Segment, one_way_bps
from alphamill.evaluation.weights import Z_LIMIT
from alphamill.frames import months_between
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake.listings import symbol_of
from alphamill.ledger.raises import asked_usd_micros
from alphamill.report.values import moment, number, percent, plain, times_over, usd, whole
from alphamill.runs.builds import builds_line
from alphamill.runs.cut_prompts import CURE, cut_prompts
from alphamill.runs.failures import group_failures
from alphamill.runs.funnel import spending
from alphamill.runs.holdout_looks import own_looks_before
from alphamill.runs.library import KNOWN
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import UNMEASURED, JudgedFactor, Trial
from alphamill.runs.training import UNTRAINED, first_scored_ms, unread_segments
from alphamill.runs.unfunded import raises_line
from alphamill.settings import FeeSettings

_FAILURES_TOLD = 10  # groups of them, on the page
_SYMBOLS_TOLD = 8


def caveats(run: PublishedRun) -> list[str]:
    """A mining run's sentences for the terminal, those that have something to say."""
    sentences = (
        resumed_line(run),
        *unmeasured_lines(run.trials),
        spent_line(run),
        *cut_lines(run),
        raised_line(run),
        undecidable_line(run.factors),
        looks_line(run.factors),
        rejudged_line(run),
        *unread_lines(run.trials, run.factors),
        known_line(run.trials),
        *unasked_lines(run),
        *bars_lines(run),
    )
    return [sentence for sentence in sentences if sentence]


def page_caveats(run: PublishedRun) -> list[str]:
    """A run's sentences for its page, where nothing else says how it was traded."""
    in_sample = "All figures are in-sample, over the whole range: there is no verdict."
    sentences = (
        resumed_line(run),
        *unmeasured_lines(run.trials),
        in_sample if run.kind is RunKind.EVALUATE else "",
        trading_line(run.spec),
        costs_line(run.spec.fees),
        raised_line(run),
        *unasked_lines(run),
        *bars_lines(run),
        undecidable_line(run.factors),
        looks_line(run.factors),
        rejudged_line(run),
        *cut_lines(run),
        *unread_lines(run.trials, run.factors),
        *(
            f"Missing: {group.jobs} {group.stage} job(s) {group.state}: {group.reason}"
            for group in group_failures(run.missing)[:_FAILURES_TOLD]
        ),
    )
    return [sentence for sentence in sentences if sentence]


def bars_lines(run: PublishedRun) -> list[str]:
    """What belongs to every figure of a run of either kind: its bars, and what computed it."""
    sentences = (
        absent_line(run),
        *universe_lines(run),
        survivors_line(run),
        training_line(run),
        *listing_lines(run),
        funding_line(run),
        builds_line(run.builds),
    )
    return [sentence for sentence in sentences if sentence]


def spent_line(run: PublishedRun) -> str:
    """For example "$0.007754 for 27 calls; $0.003877 an admitted factor"."""
    answers, cost, unknown = spending(run.calls)
    held = sum(factor.admitted for factor in run.factors)
    line = f"{usd(cost)} for {whole(answers)} model {'call' if answers == 1 else 'calls'}"
    guessed = [call for call in run.calls if call.estimated and call.cost_usd_micros is not None]
    if guessed:
        estimated = sum(call.cost_usd_micros or 0 for call in guessed)
        line += f", of which {usd(estimated)} for {whole(len(guessed))} is estimated"
    line += f", {usd(unknown)} more possibly billed" if unknown else ""
    return line + (f"; {usd((cost + unknown) / held)} an admitted factor" if held else "")


def cut_lines(run: PublishedRun) -> list[str]:
    """Which models read less than they were sent, and what to do."""
    return [f"{plain(cut, 240)}; {CURE}." for cut in cut_prompts(run.calls)]


def unmeasured_lines(trials: Sequence[Trial]) -> list[str]:
    """Why nothing at all could be measured at an interval; none where something was."""
    lines = []
    for interval in dict.fromkeys(trial.interval for trial in trials):
        own = [trial for trial in trials if trial.interval == interval]
        if any(trial.evaluated for trial in own):
            continue
        reasons = Counter(trial.reason or trial.status for trial in own)
        reason, count = reasons.most_common(1)[0]
        of = "" if own[0].status == UNMEASURED else f" ({whole(count)} of {whole(len(own))})"
        lines.append(f"Nothing could be measured at {interval}: {reason}{of}.")
    return lines


def known_line(trials: Sequence[Trial]) -> str:
    """How many trials say what earlier runs admitted; "" for none."""
    known = sum(
        (why or "").startswith(KNOWN)
        for trial in trials
        for why in (trial.reason, trial.why_not_finalist)
    )
    return f"{whole(known)} trials say what earlier runs have in the library." if known else ""


def unread_lines(trials: Sequence[Trial], factors: Sequence[JudgedFactor]) -> list[str]:
    """What of a review or of paid repairs could not be read; none where all of it was."""
    lines = []
    for interval, said in {factor.interval: factor.review_unread for factor in factors}.items():
        if said:
            lines.append(
                f"final_verification's reply at {interval} could not be read in "
                f"{_places(said.splitlines())}: a veto may be lost there."
            )
    lost = [trial.repair_unread for trial in trials if trial.repair_unread]
    if lost:
        (why, _), *_ = Counter(lost).most_common(1)
        lines.append(f"Paid repairs that could not be read: {whole(len(lost))} ({_first(why)}).")
    return lines


def _places(problems: Sequence[str]) -> str:
    count = "one place" if len(problems) == 1 else f"{len(problems)} places"
    return f"{count} ({_first(problems[0])})"


def _first(problems: str) -> str:
    """The first line of some problems, as it fits into a sentence."""
    return plain(problems.partition("\n")[0], 160)


def undecidable_line(factors: Sequence[JudgedFactor]) -> str:
    """How many factors the bars could hardly have decided on, and what would; "" for none."""
    found = [one for one in factors if one.undecidable]
    if not found:
        return ""
    easiest = min(found, key=lambda one: one.power_bars_needed or math.inf)
    return (
        f"Undecidable: {whole(len(found))} of {whole(len(factors))}; the bars could hardly have "
        f"shown it: {power_words(easiest)}. Ask for more bars or more symbols."
    )


def power_words(factor: JudgedFactor) -> str:
    """For example "power 23 % at a correlation of 0.03 on 1,230 bars; about 4,100 are needed"."""
    bars, needed = factor.power_bars or 0, factor.power_bars_needed or 0
    true = number(factor.power_correlation, 2)
    symbols = factor.power_symbols_needed
    instead = f", or {whole(symbols)} symbols," if symbols is not None else ""
    more = f"; about {whole(needed)}{instead} are needed" if needed > bars else ""
    frac = factor.power or 0.0
    said = "below 0.1 %" if 0 < frac < 0.001 else percent(frac, 0 if frac >= 0.1 else 1)
    return f"power {said} at a correlation of {true} on {whole(bars)} bars{more}"


def looks_line(factors: Sequence[JudgedFactor]) -> str:
    """How often the holdout was looked at; "" if it was not opened."""
    looks = [factor.holdout_looks or 0 for factor in factors]  # 0: vetoed, and never shown
    most, own = max(looks, default=0), sum(map(bool, looks))
    if not most:
        return ""
    before = max(factor.holdout_looks_before or 0 for factor in factors)
    others = "" if most == own else f", {whole(before)} of them by earlier runs"
    others += ": the hurdle of its t is raised for each of those" if before else ""
    return f"The bars of the holdout were shown to {whole(most)} factors so far{others}."


def unasked_lines(run: PublishedRun) -> list[str]:
    """How many model calls were not made, what stopped them, and what goes on where money does."""
    lines = [
        f"Not asked: {whole(group.jobs)} of the {group.stage} calls: {plain(group.reason, 240)}."
        for group in run.unasked
    ]
    short = run.shortfall
    return [*([f"Stopped by money: {short.sentence}"] if short else []), *lines]


def raised_line(run: PublishedRun) -> str:
    """What its budget was and became, and what the judgement before cost; "" if it was not."""
    said = raises_line(asked_usd_micros(run.plain_spec), run.budget_raises)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def rejudged_line(run: PublishedRun) -> str:
    """How many factors of its own had seen the holdout before it was judged anew; "" for none."""
    own = sum(own_looks_before(run.lake, run.id, interval) for interval in run.spec.intervals)
    return (
        f"The run was resumed and judged anew: {whole(own)} of its factors had been shown the "
        "holdout before and are no finalists now; each counts as a look of an earlier run."
        if own
        else ""
    )


def resumed_line(run: PublishedRun) -> str:
    """That the run works again and this is what it found before; "" where it is not so."""
    if run.resumed_ms is None:
        return ""
    return (
        f"The run was resumed at {moment(run.resumed_ms)} UTC and has published nothing since: "
        f"this is what it found before. alphamill status {run.id} shows how far it is."
    )


def absent_line(run: PublishedRun) -> str:
    """Which of the symbols asked for have no bar, and so are in no figure; "" if all have."""
    absent = sorted({symbol for panel in run.manifests for symbol in panel.missing})
    if not absent:
        return ""
    asked = len(set(run.spec.symbols))
    return (
        f"No bar in the range, and so in no figure: {len(absent)} of {asked} symbols asked for "
        f"({_some(absent)})."
    )


def universe_lines(run: PublishedRun) -> list[str]:
    """By which rule who belonged, and how many of them have died since; none without a rule."""
    universe = run.spec.universe
    if universe is None:
        return []
    range_months = months_between(run.spec.start_ms, run.spec.end_ms)
    months = {month: len(universe.of_month(month)) for month in range_months}
    least, most = min(months.values(), default=0), max(months.values(), default=0)
    at_once = whole(most) if least == most else f"{whole(least)} to {whole(most)}"
    count = len(universe.members)
    lines = [
        f"Universe {universe.rule} [{universe.digest}]: {whole(count)} symbols belonged in "
        f"{whole(len(months))} months, {at_once} at once. Ranks, scores and books are over the "
        "members of each bar, and who leaves is sold at a cost."
    ]
    known = [panel for panel in run.manifests if panel.died is not None]
    if not known:
        lines.append("How many of them have died since is not known: alphamill symbols asks.")
        return lines
    died, as_of = known[0].died or (), known[0].died_as_of
    named = f": {_some(died)}" if died else ""
    lines.append(f"{whole(len(died))} of the {whole(count)} had died by {as_of}{named}.")
    return lines


def survivors_line(run: PublishedRun) -> str:
    """What the run's universe says about delisted coins; "" where nothing is known of it."""
    known = [panel for panel in run.manifests if panel.ended is not None]
    if not known:
        return ""
    ended = sorted({symbol for panel in known for symbol in panel.ended or ()})
    symbols = {symbol for panel in known for symbol in panel.symbols}
    if run.spec.universe is not None and not ended:
        return ""
    if not ended:
        return (
            f"Survivorship: each of the {len(symbols)} symbols still traded at the end of the "
            "range. Coins that collapsed and were delisted are missing, which flatters whatever "
            "buys what has fallen."
        )
    return (
        f"{len(ended)} of {len(symbols)} symbols stopped trading within the range; their last "
        f"returns are in every figure: {_some(ended)}."
    )


def training_line(run: PublishedRun) -> str:
    """What the models may have read about these bars; "" where no trained model was asked."""
    trained = [one for one in run.trained_models if one.until != UNTRAINED]
    return training_words(run) if trained else ""


def training_words(run: PublishedRun) -> str:
    """The same of any run: one whose formulas no trained model wrote has nothing to fear."""
    trained = [one for one in run.trained_models if one.until != UNTRAINED]
    if not trained:
        return "No trained model proposed a formula: none can have read about these bars."
    unknown = [plain(one.model, 60) for one in trained if not one.until]
    if unknown:
        return (
            f"Until when the training data of {_some(unknown)} reaches is not known here, so that "
            "no segment counts as unread; [llm.cutoffs] takes what its maker states."
        )
    told = "; ".join(
        f"{plain(one.model, 60)} may have read about bars up to {one.until} "
        f"({plain(one.source, 100)}{f', read {one.as_of}' if one.as_of else ''})"
        for one in trained
    )
    return f"{told}. {' '.join(_clean(run))}"


def _clean(run: PublishedRun) -> Iterator[str]:
    """What begins after all of the models' training data, interval by interval."""
    several = len(run.manifests) > 1
    for panel in run.manifests:
        clean = unread_segments(run.trained_models, panel)
        at = f" at {panel.interval}" if several else ""
        if len(clean) > 1:
            yield f"Validation and holdout{at} begin after that: both are clean."
        elif clean:
            yield f"The holdout{at} begins after that and is clean; validation does not."
        else:
            begins = moment(first_scored_ms(panel, Segment.HOLDOUT))
            yield f"No segment{at} is clean: even the holdout begins on {begins}."


def listing_lines(run: PublishedRun) -> list[str]:
    """Which symbols were given to another coin within the range, and what became of positions.

    A run of before they were told apart says that it does not know.
    """
    known = [panel.new_listings for panel in run.manifests]
    if any(new is None for new in known):
        return [
            "Made before coins under one name were told apart: where a symbol was given again, "
            "books earn the jump between two coins. `gaps` names such symbols; a new run cuts them."
        ]
    found = {name: one for new in known for name, one in (new or {}).items()}
    return [
        f"{symbol_of(name)} is another coin since {moment(one.start_ms)} (price x "
        f"{times_over(one.price_ratio)}): positions in the one before are closed at its last price."
        for name, one in sorted(found.items())
    ]


def funding_line(run: PublishedRun) -> str:
    """Where a futures run could not charge funding; "" on spot and where all of it is known."""
    if not run.spec.market.has_funding:
        return ""
    if any(panel.funding_unknown is None for panel in run.manifests):
        return "Funding was not fetched when this run was made: no figure charges it."
    unknown: Counter[str] = Counter()
    for panel in run.manifests:
        unknown.update({name: bars for name, bars in (panel.funding_unknown or {}).items() if bars})
    if not unknown:
        return ""
    worst = [f"{symbol} {whole(bars)}" for symbol, bars in unknown.most_common()]
    return (
        f"Funding is not known in {whole(unknown.total())} bars, where none is charged: "
        f"{_some(worst)}. Where, and what asks for it again: alphamill gaps."
    )


def terms_line(spec: RunSpec) -> str:
    """In short, by what terms factors were measured: "Held for 4 bars, ...; trading costs ..."."""
    book = spec.portfolio
    by = f"{book.quantiles} quantiles" if book.weighting == "quantile" else book.weighting
    return (
        f"Held for {_held(spec)}, weighted by {by}{_slowly(spec)}; trading costs "
        f"{one_way_bps(spec.fees):g} bps one way ({_cost_parts(spec.fees)})."
    )


def returns_line(spec: RunSpec, in_time: bool = False) -> str:
    """What was done to returns before they were measured, in words: nothing.

    in_time: positions are by z-score, since there is no cross-section.
    """
    kind = "logarithmic" if spec.segments.returns == "log" else "simple"
    limited = (
        f" A position's z-score is held within {Z_LIMIT:g}: that limits weights, not returns."
        if in_time or spec.portfolio.weighting == "zscore"
        else ""
    )
    return (
        f"Labels are {kind} returns, books earn simple ones; none is clipped or winsorised."
        f"{limited}"
    )


def universe_words(run: PublishedRun) -> list[str]:
    """By which rule symbols belong, and what became of them: of every run, ruled or not."""
    ruled = universe_lines(run)
    survivors = survivors_line(run)
    if ruled:
        return [*ruled, *([survivors] if survivors else [])]
    given = "No rule: the symbols that were asked for, at all times."
    return [given, survivors or "Whether some of them were delisted is not known of this run."]


def _slowly(spec: RunSpec) -> str:
    """What makes a book follow its targets more slowly; "" where nothing does."""
    book = spec.portfolio
    held = f", but at least {book.hold_bars} bars" if book.hold_bars > min(spec.horizons) else ""
    band = f", no trade within {book.band:g} average positions of the target" if book.band else ""
    return held + band


def _held(spec: RunSpec) -> str:
    """For example "1, 4 or 24 bars"."""
    *others, last = map(str, spec.horizons)
    bars = f"{', '.join(others)} or {last}" if others else last
    return f"{bars} {'bar' if bars == '1' else 'bars'}"


def trading_line(spec: RunSpec) -> str:
    """When a signal is traded, for how long, and in what amounts."""
    book, lag = spec.portfolio, spec.segments.entry_lag_bars
    when = {0: "at that very close, which flatters", 1: "at the next bar's open"}.get(
        lag, f"{lag} bars later at the open"
    )
    by = {"quantile": f"the extreme of {book.quantiles} quantiles", "zscore": "z-score"}.get(
        book.weighting, "rank"
    )
    return (
        f"A signal at the close of a bar is traded {when} and held for {_held(spec)}"
        f"{_slowly(spec)}. "
        f"Books are weighted by {by} across symbols, below three symbols by each one's z-score in "
        f"time; capacity allows a trade {100 * book.participation_frac:g} % of its bar's volume."
    )


def costs_line(fees: FeeSettings) -> str:
    """What a unit of traded value costs, and of what that is made up."""
    return (
        f"Costs: {one_way_bps(fees):g} bps one way ({_cost_parts(fees)}); market impact is not in "
        "them, and funding on futures where its rates are known."
    )


def _cost_parts(fees: FeeSettings) -> str:
    parts = f"{fees.taker_bps:g} bps of taker fee and {fees.spread_bps:g} bps of half spread"
    if fees.maker_frac:
        parts = (
            f"{100 * (1 - fees.maker_frac):g} % taken at {parts}, {100 * fees.maker_frac:g} % "
            f"filled as maker at {fees.maker_bps:g} bps"
        )
    return parts


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SYMBOLS_TOLD]) + (", ..." if len(names) > _SYMBOLS_TOLD else "")
