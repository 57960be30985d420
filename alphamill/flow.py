"""Which job follows which: a run's whole graph, planned when it is submitted.

fetch (symbol x month) -> features (symbol) -> panel -> for each round: quick_scan (symbol)
-> evaluate (shards) -> detailed_analysis -> evaluate; then validate -> rank -> veto
-> verify -> publish; on futures funding (symbol) and what is asked for beside it -> panel

Beside it bars (symbol x day) of trades, which a panel waits for that is to have their flow.

`needs` edges pass failure on; `after` edges only wait, so that a failed symbol costs its own jobs
and the run goes on with what it has.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from alphamill.frames import METRICS_FROM, Interval, Month, TimeRange, Wide, has_flow
from alphamill.grid import DAY_MS, floor_ms
from alphamill.jobs import (
    BarsJob,
    CombineJob,
    EvaluateJob,
    FeaturesJob,
    FetchJob,
    FundingJob,
    Message,
    PanelJob,
    ProposeJob,
    PublishJob,
    RankJob,
    RecheckJob,
    ReverifyJob,
    RunKind,
    RunSpec,
    ScoreJob,
    ValidateJob,
    VerifyJob,
    VetoJob,
    WideJob,
    content_id,
    default_trades,
)
from alphamill.ledger import JobSpec
from alphamill.settings import Tier
from alphamill.stages.registry import stage_of

_CARRIED_MS = 3_600_000  # and more: stages.wide_columns.CARRY_MS
_STAMPED_WITHIN_MS = 60_000  # a settlement is stamped some milliseconds after its hour


def plan(spec: RunSpec) -> list[JobSpec]:
    """All jobs of a run, each after those that it waits for. Pure: equal specs, equal plans."""
    if spec.verify_frac:
        return _reverified(spec)
    if spec.kind is RunKind.BARS:
        return list(_bars(spec))
    jobs = list(_market_data(spec))
    if spec.kind is RunKind.FEATURES:
        return jobs
    funding = [*_funding(spec), *_wide(spec), *_flow(spec)]
    if spec.kind is RunKind.FETCH:
        return jobs + funding
    by_interval = {
        interval: [job.id for job in jobs if job.message["interval"] == interval.value]
        + [job.id for job in funding]
        for interval in spec.intervals
    }
    jobs += funding
    last: list[str] = []
    for interval in spec.intervals:
        panel = _job(PanelJob(interval), after=by_interval[interval])
        jobs.extend(_chained(panel, _BRANCHES[spec.kind](spec, interval)))
        last.append(jobs[-1].id)
    jobs.append(_job(PublishJob(), after=last, goal=True))
    return jobs


def _job(
    message: Message, needs: Iterable[str] = (), after: Iterable[str] = (), goal: bool = False
) -> JobSpec:
    stage, body = stage_of(message), message.to_message()
    return JobSpec(
        id=content_id(stage.name, body),
        stage=stage.name,
        queue=stage.queue.value,
        message=body,
        needs=tuple(needs),
        after=tuple(after),
        goal=goal,
    )


def _market_data(spec: RunSpec) -> Iterator[JobSpec]:
    for interval in spec.intervals:
        for symbol in spec.symbols:
            if not _life_of(spec, symbol).length_ms:
                continue
            asked = _bars_of(spec, interval, symbol)
            fetches = [
                _job(
                    FetchJob(spec.market, symbol, interval, part.start_ms, part.end_ms),
                    goal=spec.kind is RunKind.FETCH,
                )
                for part in _parts(spec, interval, asked)
            ]
            yield from fetches
            if spec.kind is not RunKind.FETCH:
                yield _job(
                    FeaturesJob(spec.market, symbol, interval, asked.start_ms, asked.end_ms),
                    after=[job.id for job in fetches],
                    goal=spec.kind is RunKind.FEATURES,
                )


def _bars(spec: RunSpec) -> Iterator[JobSpec]:
    """A job a symbol and day, from midnight on; every rule begins anew there."""
    for symbol in spec.symbols:
        for day in _days(TimeRange(spec.start_ms, spec.end_ms)):
            asked = spec.rule, spec.trades, day.start_ms, day.end_ms, spec.keep_trades
            yield _job(BarsJob(spec.market, symbol, *asked), goal=True)


def _flow(spec: RunSpec) -> Iterator[JobSpec]:
    """The days of trades that the flow of a run's bars is made of."""
    intervals = [one for one in spec.intervals if has_flow(one)] if Wide.FLOW in spec.wide else []
    source = default_trades(spec.market)
    for interval in intervals:
        for symbol in spec.symbols:
            for day in _days(_life_of(spec, symbol)):
                asked = interval.value, source, day.start_ms, day.end_ms
                yield _job(BarsJob(spec.market, symbol, *asked), goal=spec.kind is RunKind.FETCH)


def _days(asked: TimeRange) -> Iterator[TimeRange]:
    """Each from its midnight, the last as far as is asked for."""
    for start_ms in range(asked.start_ms // DAY_MS * DAY_MS, asked.end_ms, DAY_MS):
        yield TimeRange(start_ms, min(start_ms + DAY_MS, asked.end_ms))


def _bars_of(spec: RunSpec, interval: Interval, symbol: str) -> TimeRange:
    """From the bar that holds the start: the first bar of a coin opens before it was listed.

    What a run measures still begins with the first bar that opens in the range asked for. Of a
    universe's coin that ends, the bars of its life, empty where that lies elsewhere.
    """
    lived = _life_of(spec, symbol)
    return TimeRange(floor_ms(interval, lived.start_ms), lived.end_ms)


def _life_of(spec: RunSpec, symbol: str) -> TimeRange:
    whole = TimeRange(spec.start_ms, spec.end_ms)
    lived = spec.universe.range_of(symbol, whole) if spec.universe else whole
    return lived or TimeRange(spec.end_ms, spec.end_ms)


def _parts(spec: RunSpec, interval: Interval, asked: TimeRange) -> Iterator[TimeRange]:
    """A job each: a month, or of a universe's many symbols a year where that is one page."""
    months = [part for _, part in asked.by_month()]
    if spec.universe is None or interval is Interval.MO1 or interval.ms < Interval.D1.ms:
        yield from months
        return
    for _, year in itertools.groupby(months, lambda part: Month.of_ms(part.start_ms).year):
        parts = list(year)
        yield TimeRange(parts[0].start_ms, parts[-1].end_ms)


def _funding(spec: RunSpec) -> Iterator[JobSpec]:
    """One a symbol of a futures run; it includes a settlement at the end of the last bar.

    None where a run only brings the daily bars that a universe is judged by.
    """
    if spec.market.has_funding and (spec.universe is None or spec.universe.members):
        for symbol in spec.symbols:
            lived = _life_of(spec, symbol)
            end_ms = lived.end_ms + _STAMPED_WITHIN_MS
            job = FundingJob(spec.market, symbol, lived.start_ms, end_ms)
            yield _job(job, goal=spec.kind is RunKind.FETCH)


def _wide(spec: RunSpec) -> Iterator[JobSpec]:
    """One a symbol and month, of prices at each of the run's intervals."""
    whole = TimeRange(spec.start_ms, spec.end_ms)
    for kind, interval, asked in _beside_bars(spec):
        for symbol in spec.symbols:
            lived = _life_of(spec, symbol)
            own = asked if lived == whole else asked.within(lived)
            for _, part in own.by_month() if own else ():
                job = WideJob(kind, spec.market, symbol, interval, part.start_ms, part.end_ms)
                yield _job(job, goal=spec.kind is RunKind.FETCH)


def _beside_bars(spec: RunSpec) -> Iterator[tuple[Wide, Interval | None, TimeRange]]:
    """What is asked for beside bars and funding; metrics of as long before as they are carried."""
    for kind in spec.wide:
        if kind in (Wide.FUNDING, Wide.FLOW):  # of jobs of their own
            continue
        if kind is Wide.METRICS:
            start_ms = max(
                METRICS_FROM.start_ms, floor_ms(Interval.H1, spec.start_ms - _CARRIED_MS)
            )
            if start_ms < spec.end_ms:
                yield kind, None, TimeRange(start_ms, spec.end_ms)
        else:
            for interval in spec.intervals:
                yield kind, interval, TimeRange(floor_ms(interval, spec.start_ms), spec.end_ms)


def _reverified(spec: RunSpec) -> list[JobSpec]:
    """The months to compare again, at least one: drawn by a hash, so that equal specs draw equal.

    The salt draws others another day.
    """
    drawn: list[tuple[float, JobSpec]] = []
    for job in _compared(spec):
        lot = content_id("lot", {**job.to_message(), "salt": spec.salt})[-8:]
        drawn.append((int(lot, 16) / 16**8, _job(job, goal=True)))
    first = min((lot for lot, _ in drawn), default=0.0)
    return [job for lot, job in drawn if lot < spec.verify_frac or lot == first]


def _compared(spec: RunSpec) -> Iterator[Message]:
    """Bars, on futures funding, and what else is asked for, a month a job."""
    for interval in spec.intervals:
        for symbol in spec.symbols:
            for _, part in _bars_of(spec, interval, symbol).by_month():
                yield ReverifyJob(spec.market, symbol, interval, part.start_ms, part.end_ms)
    beside = [*_beside_bars(spec)]
    if spec.market.has_funding:
        beside.append((Wide.FUNDING, None, TimeRange(spec.start_ms, spec.end_ms)))
    for kind, interval_of, asked in beside:
        for symbol in spec.symbols:
            for _, part in asked.by_month():
                yield RecheckJob(kind, spec.market, symbol, interval_of, part.start_ms, part.end_ms)


# A step is the jobs that may run side by side once the step before has settled.
Step = list[Message]


def _mining(spec: RunSpec, interval: Interval) -> Iterator[Step]:
    for number in range(spec.rounds):
        told = spec.told_symbols
        yield [ProposeJob(Tier.QUICK_SCAN, interval, number, symbol) for symbol in told]
        yield _evaluations(spec, Tier.QUICK_SCAN, interval, number)
        yield [ProposeJob(Tier.DETAILED_ANALYSIS, interval, number)]
        yield _evaluations(spec, Tier.DETAILED_ANALYSIS, interval, number)
    yield [ValidateJob(interval, shard, spec.shards) for shard in range(spec.shards)]
    yield [RankJob(interval)]
    yield [VetoJob(interval)]
    yield [VerifyJob(interval)]


def _evaluations(spec: RunSpec, tier: Tier, interval: Interval, number: int) -> Step:
    return [EvaluateJob(tier, interval, number, shard, spec.shards) for shard in range(spec.shards)]


def _scoring(_: RunSpec, interval: Interval) -> Iterator[Step]:
    yield [ScoreJob(interval)]


def _combining(_: RunSpec, interval: Interval) -> Iterator[Step]:
    yield [CombineJob(interval)]


_BRANCHES = {RunKind.MINE: _mining, RunKind.EVALUATE: _scoring, RunKind.COMBINE: _combining}


def _chained(panel: JobSpec, steps: Iterator[Step]) -> Iterator[JobSpec]:
    """Each step waits for the whole step before, and needs the panel."""
    yield panel
    before: list[str] = []
    for step in steps:
        jobs = [_job(message, needs=[panel.id], after=before) for message in step]
        yield from jobs
        before = [job.id for job in jobs]
