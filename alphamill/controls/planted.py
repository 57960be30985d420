"""One control market mined by the whole pipeline, and what became of what was in it."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Self

from alphamill.controls.direct import Alone, judge_alone
from alphamill.controls.markets import ControlMarket, exchange_of, panel_of
from alphamill.evaluation import GateThresholds, Grade, Segment, signal_correlation
from alphamill.frames import FloatArray, Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.language import read_expression
from alphamill.llm.messages import ChatReply, ChatRequest
from alphamill.llm.scripted import ScriptedChat
from alphamill.mill import Mill
from alphamill.runs.published import PublishedRun
from alphamill.runs.reader import SegmentReader
from alphamill.runs.rows import JudgedFactor, Trial
from alphamill.settings import SegmentSettings, Tier, TierSettings
from alphamill.sim.llm.prompt_reader import answer
from alphamill.sim.llm.proposer import NAME as PROPOSER
from alphamill.sim.market import Bars, PlantedFactor

MEETS = 0.9  # rank correlation from which a trial is a planted formula in other words
KEEPS = 0.7  # and from which a factor stands for it: gates.library_correlation admits one such
FALSE_BELOW = 0.1  # a factor less like everything planted, in the direction it trades, is false

_STRIDE_BARS = 4  # of the bars on which values are compared

# What must not come through, and the fate that it must have. The columns are the market's own
# future: the lake that is mined cannot even name them.
DECOYS = {
    "peek_at_next_bar": "a column that knows the next bar",
    "delay(close, -4) / close - 1": "a lag into the future",
    "-close": "a price level: it orders coins by their unit",
    "rank(quote_volume / volume)": "a price in disguise",
}


@dataclass(frozen=True, slots=True)
class Search:
    """How a control market is mined."""

    rounds: int = 1
    candidates: int = 4
    decoys: bool = True
    segments: SegmentSettings = SegmentSettings()
    gates: GateThresholds = GateThresholds()


@dataclass(frozen=True, slots=True)
class Found:
    """A judged factor. likeness: with the nearest planted formula, in the direction it trades."""

    expression: str
    verdict: str
    likeness: float | None  # None where nothing was planted
    validation_t: float | None
    holdout_t: float | None


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one planted formula in one mining run."""

    expression: str
    target_ic: float
    met: bool  # some trial was this formula in other words
    verdict: str  # the best of a factor that stands for it; "" without one
    alone: Alone  # on this market, as the only trial

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """From its fields as JSON values."""
        alone = plain["alone"]
        return cls(**{**plain, "alone": Alone(**{**alone, "failed": tuple(alone["failed"])})})


@dataclass(frozen=True, slots=True)
class Outcome:
    """One market mined."""

    market: ControlMarket
    n_trials: int
    p_value: float | None  # of the first trial that was measured, on validation
    factors: tuple[Found, ...]
    fates: tuple[Fate, ...]
    decoys: dict[str, str] = field(default_factory=dict)  # expression -> its status as a trial

    @property
    def called(self) -> list[Found]:
        """Factors that were admitted."""
        return [factor for factor in self.factors if Grade(factor.verdict).admitted]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = asdict(self)
        plain["market"].pop("interval")
        return plain


def mine_market(market: ControlMarket, search: Search) -> Outcome:
    """Mine the market from fetch to verdict with the offline proposer, in a lake that is dropped.

    Without indicators, which that proposer never names. Equal arguments, equal outcome.
    """
    bars = market.bars()
    with tempfile.TemporaryDirectory(prefix="alphamill-control-") as folder:
        chat = OfflineChat(market.seed, search.decoys)
        mill = Mill(Lake(folder), exchange_of(market, bars), chat, indicators=False)
        spec = spec_of(market, search, folder)
        mill.work(spec)
        alone = judge_planted(market, search, bars)
        return _outcome(market, PublishedRun.open(mill.lake, spec.run_id), alone)


def judge_planted(
    market: ControlMarket, search: Search, bars: Mapping[str, Bars] | None = None
) -> list[Alone]:
    """Each formula planted in the market, judged without a search. bars: as `panel_of`."""
    if not market.planted:
        return []
    panel = panel_of(market, bars)
    return [judge_alone(panel, one, search.segments, search.gates) for one in market.planted]


def spec_of(market: ControlMarket, search: Search, lake: str) -> RunSpec:
    """A run that mines the market so."""
    tier = TierSettings(model=PROPOSER, max_tokens=2000)
    return RunSpec(
        kind=RunKind.MINE,
        lake=lake,
        market=Market.SPOT,
        symbols=market.symbols,
        intervals=(market.interval,),
        start_ms=market.start_ms,
        end_ms=market.end_ms,
        rounds=search.rounds,
        candidates=search.candidates,
        shards=1,
        budget_usd_micros=1_000_000,
        tiers=dict.fromkeys(Tier, tier),
        segments=search.segments,
        gates=search.gates,
    )


class OfflineChat:
    """The offline proposer without a server; its first reply also names the decoys.

    A reply depends on the seed and the request alone. `requests` holds what it was asked.
    """

    def __init__(self, seed: int, decoys: bool = False) -> None:
        self._seed, self._decoys = seed, decoys
        self.requests: list[ChatRequest] = []

    def complete(self, request: ChatRequest) -> ChatReply:
        """See `llm.endpoint.client.Chat`."""
        self.requests.append(request)
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        digest = hashlib.sha256(f"{self._seed} {messages[-1]['content']}".encode()).digest()
        said = answer(Random(digest), {"messages": messages})  # noqa: S311  not for secrets
        if self._decoys and "candidates" in said:
            self._decoys = False
            said["candidates"] += [
                {"expression": text, "hypothesis": why, "horizon_bars": None, "direction": None}
                for text, why in DECOYS.items()
            ]
        return ScriptedChat([json.dumps(said)]).complete(request)

    def models(self) -> list[str]:
        """The proposer's name."""
        return [PROPOSER]


def _outcome(market: ControlMarket, run: PublishedRun, alone: Sequence[Alone]) -> Outcome:
    reader = SegmentReader(run.lake, run.id, market.interval, Segment.DISCOVERY)
    likeness = _likenesses(run, market.planted, reader)
    p_values = (trial.validation.p_value for trial in run.trials)
    return Outcome(
        market=market,
        n_trials=sum(trial.counted for trial in run.trials),
        p_value=next((p for p in p_values if p is not None), None),
        factors=tuple(
            Found(
                factor.expression,
                factor.verdict.value,
                max(like.values(), default=None),
                factor.validation.rank_ic_t,
                factor.holdout.rank_ic_t,
            )
            for factor, like in zip(run.factors, likeness, strict=True)
        ),
        fates=fates_in(run, market.interval, market.planted, alone),
        decoys={trial.proposed: trial.status for trial in run.trials if trial.proposed in DECOYS},
    )


def fates_in(
    run: PublishedRun, interval: Interval, planted: Sequence[PlantedFactor], alone: Sequence[Alone]
) -> tuple[Fate, ...]:
    """What became of each planted formula in a run over its bars; alone: as `judge_alone`."""
    reader = SegmentReader(run.lake, run.id, interval, Segment.DISCOVERY)
    likeness = _likenesses(run, planted, reader)
    return tuple(
        Fate(
            p.expression,
            p.target_ic,
            _met(_values(reader, p.expression), run.trials, reader),
            _best(
                factor
                for factor, like in zip(run.factors, likeness, strict=True)
                if like[p.expression] >= KEEPS
            ),
            own,
        )
        for p, own in zip(planted, alone, strict=True)
    )


def _likenesses(
    run: PublishedRun, planted: Sequence[PlantedFactor], reader: SegmentReader
) -> list[dict[str, float]]:
    values = {p.expression: _values(reader, p.expression) for p in planted}
    return [_likeness(factor, values, reader) for factor in run.factors]


def _likeness(
    factor: JudgedFactor, planted: Mapping[str, FloatArray], reader: SegmentReader
) -> dict[str, float]:
    """With each planted formula, in the direction that the factor trades."""
    values = _values(reader, factor.expression)
    return {text: factor.direction * _alike(values, own) for text, own in planted.items()}


def _values(reader: SegmentReader, expression: str) -> FloatArray:
    values = reader.values(read_expression(expression))
    return values[reader.panel(()).scored][::_STRIDE_BARS]


def _alike(values: FloatArray, other: FloatArray) -> float:
    correlation = signal_correlation(values, other)
    return 0.0 if math.isnan(correlation) else correlation


def _met(wanted: FloatArray, trials: Sequence[Trial], reader: SegmentReader) -> bool:
    """Whether a trial orders the symbols as the planted formula does."""
    texts = {trial.text for trial in trials if trial.evaluated}
    return any(abs(_alike(_values(reader, text), wanted)) >= MEETS for text in sorted(texts))


def _best(factors: Iterable[JudgedFactor]) -> str:
    order = list(Grade)
    return max((factor.verdict for factor in factors), key=order.index, default="")
