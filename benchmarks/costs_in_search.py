"""Do finalists pay for their trading, where the search is told what that costs?

Run: python benchmarks/costs_in_search.py [seeds] [recordings]. Whole mining runs in this process on
recorded hourly bars of spot, with the offline proposer, an arm a way of searching, at as many
trials: candidates are left out where variants by rule take their place. An arm without feedback on
costs has what its prompts say of break-even and speed taken out before the proposer reads them.
What counts is the share of finalists that break even above 5 bps, on validation, whose t chooses
finalists, and on the holdout, which chooses nothing. All seeds have the same bars, so that the
interval is of the search's luck alone: another market may say something else.

recordings: a folder of SYMBOL-1h.parquet. Those at hand have neither quote volume nor takers'
volume: the one is made from the close, the other is 0, so that ideas about it have no figure.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as pq

from alphamill.clock import ManualClock
from alphamill.controls.planted import OfflineChat
from alphamill.evaluation import Grade
from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.llm.messages import ChatReply, ChatRequest
from alphamill.llm.prompts.sections import Title
from alphamill.market import FakeExchange
from alphamill.mill import Mill
from alphamill.settings import PortfolioSettings, SearchSettings, Tier, TierSettings
from alphamill.sim.llm.proposer import NAME as PROPOSER
from alphamill.testing import klines_at

RECORDINGS = Path(__file__).resolve().parents[2] / "shared/data/klines/spot"
LEAST_BPS = 5.0
LEAST_BARS = 23_000
ROUNDS = 4
_TOO_FAST = re.compile(rf"## {re.escape(Title.TOO_FAST)}\n.*?\n\n", re.DOTALL)
_BREAK_EVEN = re.compile(r", breaks even at -?[\d.]+ bps")


@dataclass(frozen=True)
class Arm:
    """A way of searching; what is not said is as by default."""

    name: str
    told: bool = False
    candidates: int = 3  # of each call
    search: Mapping[str, float] = field(default_factory=dict)
    book: Mapping[str, float] = field(default_factory=dict)


CHOSEN = {"finalists_break_even_bps": LEAST_BPS}
SMOOTHED = {"slower_variants": 14}
BAND, HOLD = {"band": 1.0}, {"hold_bars": 24}
ARMS = (
    Arm("without"),
    Arm("told", told=True),
    Arm("smoothed by rule", candidates=2, search=SMOOTHED),
    Arm("chosen by break-even", search=CHOSEN),
    Arm("all three", told=True, candidates=2, search=SMOOTHED | CHOSEN),
    Arm("band of 1 alone", book=BAND),
    Arm("all three, band of 1", told=True, candidates=2, search=SMOOTHED | CHOSEN, book=BAND),
    Arm("held for 24 bars alone", book=HOLD),
)


class Untold(OfflineChat):
    """The proposer, deaf to what its prompts say of costs."""

    def complete(self, request: ChatRequest) -> ChatReply:
        *before, last = request.messages
        said = _BREAK_EVEN.sub("", _TOO_FAST.sub("", last.content))
        return super().complete(replace(request, messages=(*before, replace(last, content=said))))


def exchange_of(recordings: Path) -> tuple[FakeExchange, tuple[str, ...], int, int]:
    """The recorded bars behind an exchange, its symbols, and the range that all of them have."""
    tables = {
        path.name.removesuffix("-1h.parquet"): pq.read_table(path).to_pydict()
        for path in sorted(recordings.glob("*-1h.parquet"))
    }
    tables = {name: one for name, one in tables.items() if len(one["close"]) > LEAST_BARS}
    start_ms = max(one["open_time"][0] for one in tables.values())
    end_ms = min(one["open_time"][-1] for one in tables.values()) + Interval.H1.ms
    exchange = FakeExchange(ManualClock(end_ms + 10 * 86_400_000))
    for name, one in tables.items():
        prices = {key: np.array(one[key]) for key in ("open", "high", "low", "close", "volume")}
        more = {"quote_volume": prices["close"] * prices["volume"], "trades": 0}
        more |= {"taker_buy_base": 0.0, "taker_buy_quote": 0.0}
        table = klines_at(one["open_time"], Interval.H1, **prices, **more)
        exchange.add(name, Interval.H1, table)
    return exchange, tuple(tables), start_ms, end_ms


def searched(
    arm: Arm, seed: int, lake: Path, exchange: FakeExchange, spec: RunSpec
) -> dict[str, object]:
    """One run: its trials, and of each finalist where it breaks even."""
    chat = (OfflineChat if arm.told else Untold)(seed)
    mill = Mill(Lake(str(lake)), exchange, chat, indicators=False)
    own = replace(
        spec,
        lake=str(lake),
        candidates=arm.candidates,
        search=SearchSettings(**arm.search),
        portfolio=PortfolioSettings(**arm.book),
        salt=f"{arm.name} {seed}",
    )
    mill.work(own)
    trials = mill.table(own, "trials")
    factors = mill.table(own, "factors")
    counted = [one for one in trials if one["status"] in ("evaluated", "fault", "duplicate")]
    return {
        "trials": len(counted),
        "slower": sum(one["slower_of"] is not None for one in trials),
        "finalists": len(factors),
        "admitted": sum(Grade(one["verdict"]).admitted for one in factors),
        "discovery": [one["discovery_break_even_bps"] for one in factors],
        "validation": [one["validation_break_even_bps"] for one in factors],
        "holdout": [one["holdout_break_even_bps"] for one in factors],
        "turnover": [one["validation_turnover_per_bar"] for one in factors],
        "t": [one["validation_rank_ic_t"] * one["direction"] for one in factors],
    }


def above(found: list[float | None]) -> float:
    """Share that breaks even above `LEAST_BPS`; NaN of none."""
    return float(np.mean([(one or -math.inf) > LEAST_BPS for one in found])) if found else math.nan


def interval(shares: list[float]) -> str:
    """Mean of the seeds and its 95 % interval, in percent; a seed without finalists counts as 0.

    The interval is of means of seeds drawn again.
    """
    known = np.nan_to_num(np.array(shares))
    again = np.random.default_rng(1).choice(known, (10_000, len(known))).mean(axis=1)
    low, high = np.quantile(again, [0.025, 0.975])
    return f"{100 * known.mean():.0f} ({100 * low:.0f} to {100 * high:.0f})"


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    recordings = Path(sys.argv[2]) if len(sys.argv) > 2 else RECORDINGS
    exchange, symbols, start_ms, end_ms = exchange_of(recordings)
    spec = RunSpec(
        RunKind.FETCH,
        "",
        Market.SPOT,
        symbols,
        (Interval.H1,),
        start_ms,
        end_ms,
        ROUNDS,
        budget_usd_micros=10_000_000,
        tiers=dict.fromkeys(Tier, TierSettings(model=PROPOSER)),
    )
    print(f"{len(symbols)} symbols x {(end_ms - start_ms) // Interval.H1.ms} bars, {seeds} seeds")
    print(
        "arm | trials | finalists | break even > 5 bps, %: validation | holdout | median bps: "
        "discovery, validation, holdout | median turnover | median t | predictive | s"
    )
    with tempfile.TemporaryDirectory(prefix="alphamill-costs-") as folder:
        bars = Path(folder) / "bars"
        Mill(Lake(str(bars)), exchange, OfflineChat(0), indicators=False).work(
            replace(spec, lake=str(bars))
        )
        mine = replace(spec, kind=RunKind.MINE)
        for arm in ARMS:
            begun_s, runs = time.process_time(), []
            for seed in range(seeds):
                lake = Path(folder) / "lake"
                shutil.copytree(bars, lake)
                runs.append(searched(arm, seed, lake, exchange, mine))
                shutil.rmtree(lake)
            print(line(arm, runs, time.process_time() - begun_s), flush=True)


def line(arm: Arm, runs: list[dict[str, object]], spent_s: float) -> str:
    def all_of(name: str) -> list[float]:
        return [value for run in runs for value in run[name] if value is not None]

    shares = [interval([above(run[name]) for run in runs]) for name in ("validation", "holdout")]
    medians = ", ".join(
        f"{np.median(all_of(name) or [math.nan]):+.1f}"
        for name in ("discovery", "validation", "holdout")
    )
    means = {
        name: np.mean([run[name] for run in runs])
        for name in ("trials", "slower", "finalists", "admitted")
    }
    return (
        f"{arm.name} | {means['trials']:.0f} ({means['slower']:.0f} by rule) | "
        f"{means['finalists']:.1f} | {shares[0]} | {shares[1]} | {medians} | "
        f"{np.median(all_of('turnover') or [math.nan]):.3f} | "
        f"{np.median(all_of('t') or [math.nan]):.1f} | {means['admitted']:.1f} | {spent_s:.0f}"
    )


if __name__ == "__main__":
    main()
