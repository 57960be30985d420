"""Which factor is exported, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from alphamill.errors import GiveUp
from alphamill.factors import Factor
from alphamill.frames import Interval, Market
from alphamill.language import read_given
from alphamill.live.spec import LiveSpec
from alphamill.runs.published import PublishedRun


@dataclass(frozen=True, slots=True)
class Exported:
    """A factor and where it comes from.

    factor: as it is traded where a live or a run is named, so that a high value is to be held; else
    as it was written. live, run, verdict: "" where there is none. market, interval: None where
    nobody said. horizon_bars: bars that a signal is held for, a least holding time among them.
    band: as in `[portfolio]`.
    """

    factor: Factor
    live: str = ""
    run: str = ""
    verdict: str = ""
    market: Market | None = None
    interval: Interval | None = None
    horizon_bars: int = 1
    weighting: str = "rank"
    quantiles: int = 5
    band: float = 0.0


def from_live(live: str, spec: LiveSpec, text: str) -> Exported:
    """The followed factor with this number, from 1, or this hash or its unique beginning. GiveUp,
    naming what there is.
    """
    hashes = [followed.factor for followed in spec.factors]
    at = chosen(live, text, hashes)
    followed = spec.factors[at]
    return Exported(
        read_given(followed.expression),
        live,
        followed.run,
        followed.verdict,
        spec.market,
        spec.interval,
        max(followed.horizon_bars, spec.hold_bars),
        spec.weighting,
        spec.quantiles,
        spec.band,
    )


def from_run(run: PublishedRun, text: str) -> Exported:
    """What a run judged, by its number or hash. GiveUp, naming what there is."""
    judged = run.factor(text)
    return Exported(
        read_given(judged.traded),
        "",
        run.id,
        judged.verdict.value,
        run.spec.market,
        judged.interval,
        max(run.spec.segments.horizon_bars, run.spec.portfolio.hold_bars),
        run.spec.portfolio.weighting,
        run.spec.portfolio.quantiles,
        run.spec.portfolio.band,
    )


def from_expression(text: str) -> Exported:
    """An expression that nobody judged. FactorError if it is none."""
    return Exported(read_given(text))


def chosen(owner: str, text: str, hashes: list[str]) -> int:
    """The index of the factor that is meant."""
    if text.isdecimal() and len(text) < 4:
        if 1 <= int(text) <= len(hashes):
            return int(text) - 1
        fitting = []
    else:
        fitting = [at for at, one in enumerate(hashes) if text and one.startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(f"{at} {one}" for at, one in enumerate(hashes[:8], 1))
    more = f" and {len(hashes) - 8} more" if len(hashes) > 8 else ""
    raise GiveUp(f"{owner} has {len(fitting)} factors {text!r}; there are: {there}{more}")
