"""Tick, volume and imbalance bars: alphamill beside a loop over pandas rows and nautilus_trader.

Recorded USD-M trades of BTCUSDT (synthetic ones where the recording is not here), repeated to
half a million. A tick bar is the same everywhere, so all engines' tick bars are compared: prices to
the bit, volumes to 12 digits; of a volume bar nautilus_trader splits the last trade, so there only
the loop is compared. Trades are in each engine's own form before the clock starts: columns, a
DataFrame, a list of TradeTick. CPU seconds of one core, the best of three. Targets: 20 times the
loop, 3 times nautilus_trader, which runs in a process of its own, since it wants an older pandas:
`make bench` puts it in build/peers, BENCH_PEERS names another folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from alphamill.bars import BarBuilder, Layout, Rule, Trades, TradeSource, join_bars, parse_rule
from alphamill.frames import Market

N, ROUNDS, RULES = 500_000, 3, ("200t", "20v", "50vi")
LOOP_TARGET, NAUTILUS_TARGET = 20.0, 3.0
RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data" / "ticks_2024"
PEERS = Path(os.environ.get("BENCH_PEERS") or Path(__file__).resolve().parents[1] / "build/peers")
START_US = 1_723_075_200_000_000
LAYOUT = Layout(Market.USD_M, TradeSource.TRADES)
Figures = np.ndarray  # (bars, open high low close volume)


def trades() -> tuple[Trades, str]:
    path = RECORDED / "usdm_btcusdt_20240808.trades.csv.gz"
    if path.exists():
        frame = pd.read_csv(path)
        price, size, sold = frame["price"], frame["quantity"], frame["is_buyer_maker"]
        gaps, kind = np.diff(frame["trade_ms"], prepend=frame["trade_ms"][0]), "recorded"
    else:
        rng = np.random.default_rng(5)
        price = pd.Series(np.round(61_800 + np.cumsum(rng.normal(0, 0.3, 20_000)), 1))
        size = pd.Series(np.round(rng.lognormal(-4, 1.5, 20_000) + 0.001, 3))
        sold = pd.Series(rng.random(20_000) < 0.5)
        gaps, kind = rng.geometric(0.06, 20_000) - 1, "synthetic"
    rows = np.arange(N) % len(price)
    return Trades(
        id=np.arange(N) + 1,
        time_us=START_US + 1000 * np.cumsum(np.maximum(gaps, 0)[rows]),
        price=np.rint(price.to_numpy() * 1e8).astype(np.int64)[rows],
        quantity=np.rint(size.to_numpy() * 1e8).astype(np.int64)[rows],
        is_buyer_maker=sold.to_numpy(bool)[rows],
    ), kind


def with_alphamill(given: Trades, rule: Rule) -> Figures:
    builder = BarBuilder(rule, LAYOUT)
    bars = join_bars([builder.add(given), builder.finish(START_US)])
    bars = bars[bars.complete]
    return np.column_stack([bars.open, bars.high, bars.low, bars.close, bars.volume])


def with_a_loop(frame: pd.DataFrame, rule: Rule) -> Figures:
    """What one writes after reading about them."""
    bars, need = [], float(rule.threshold)
    open_, high, low, volume, held = 0.0, -np.inf, np.inf, 0.0, 0.0
    by_trades = rule.measure == "trades"
    for row in frame.itertuples(index=False):
        if volume == 0.0:
            open_ = row.price
        high, low = max(high, row.price), min(low, row.price)
        volume += row.quantity
        weight = 1.0 if by_trades else row.quantity
        held += -weight if rule.imbalance and row.sold else weight
        if abs(held) >= need - 1e-9:
            bars.append((open_, high, low, row.price, volume))
            open_, high, low, volume, held = 0.0, -np.inf, np.inf, 0.0, 0.0
    return np.array(bars)


NAUTILUS = """
import json, sys, time
import numpy as np
from nautilus_trader.data.aggregation import TickBarAggregator, VolumeBarAggregator
from nautilus_trader.model.data import BarType, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import TradeId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider

given = np.load(sys.argv[1])
instrument = TestInstrumentProvider.btcusdt_binance()
sides = (AggressorSide.BUYER, AggressorSide.SELLER)
ticks = [
    TradeTick(instrument.id, Price(p, 2), Quantity(q, 6), sides[s], TradeId(str(i)), t, t)
    for i, (t, p, q, s) in enumerate(zip(*(given[k].tolist() for k in "tpqs")))
]
kinds = {"200t": (TickBarAggregator, "200-TICK"), "20v": (VolumeBarAggregator, "20-VOLUME")}
out = {}
for rule, (kind, name) in kinds.items():
    best = 1e9
    for _ in range(int(sys.argv[2])):
        bars = []
        bar_type = BarType.from_str(f"{instrument.id}-{name}-LAST-INTERNAL")
        handle = kind(instrument, bar_type, bars.append).handle_trade_tick
        start_s = time.process_time()
        for tick in ticks:
            handle(tick)
        best = min(best, time.process_time() - start_s)
    rows = [[float(str(x)) for x in (b.open, b.high, b.low, b.close, b.volume)] for b in bars]
    out[rule] = {"cpu_s": best, "bars": rows}
print(json.dumps(out))
"""


def with_nautilus(frame: pd.DataFrame) -> dict[str, dict[str, object]]:
    """Of each rule that it has: CPU seconds and bars; empty where it is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        path, code = Path(folder) / "trades.npz", Path(folder) / "peer.py"
        columns = {"t": frame["time_ns"], "p": frame["price"], "q": frame["quantity"]}
        np.savez(path, **columns, s=frame["sold"].astype(int))
        code.write_text(NAUTILUS)
        ran = subprocess.run(
            [sys.executable, str(code), str(path), str(ROUNDS)],
            env={**os.environ, "PYTHONPATH": str(PEERS)},
            capture_output=True,
            text=True,
            check=False,
        )
    if ran.returncode:
        print(
            f"  nautilus_trader: left out ({(ran.stderr.strip().splitlines() or [''])[-1][:100]})"
        )
        return {}
    found: dict[str, dict[str, object]] = json.loads(ran.stdout.splitlines()[-1])
    return found


def seconds(engine: Callable[[], Figures]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start_s = time.process_time()
        engine()
        best = min(best, time.process_time() - start_s)
    return best


def check(ours: Figures, theirs: Figures, what: str) -> None:
    assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
    assert np.array_equal(ours[:, :4], theirs[:, :4]), what
    assert np.allclose(ours[:, 4], theirs[:, 4], rtol=1e-12), what


def main() -> int:
    given, kind = trades()
    frame = pd.DataFrame(
        {
            "price": given.price / 1e8,
            "quantity": given.quantity / 1e8,
            "sold": given.is_buyer_maker,
            "time_ns": given.time_us * 1000,
        }
    )
    print(f"{N:,} {kind} trades; bars are equal where definitions are")
    peer = with_nautilus(frame)
    met = True
    for text in RULES:
        rule = parse_rule(text)
        ours = with_alphamill(given, rule)
        check(ours, with_a_loop(frame, rule), f"{text}: the loop")
        own_s = seconds(lambda rule=rule: with_alphamill(given, rule))
        loop_s = seconds(lambda rule=rule: with_a_loop(frame, rule))
        lines = [("pandas loop", loop_s, LOOP_TARGET)]
        if text in peer:
            lines.append(("nautilus_trader", float(peer[text]["cpu_s"]), NAUTILUS_TARGET))
            if rule.measure == "trades":
                check(ours, np.array(peer[text]["bars"]), f"{text}: nautilus_trader")
        print(f"  {text}: {len(ours):,} bars, alphamill {own_s:.4f} s")
        for name, cpu_s, target in lines:
            ratio = cpu_s / own_s
            missed = "" if ratio >= target else "  MISSED"
            print(f"    {name:16} {cpu_s:7.3f} s  {ratio:5.0f} times  (target {target}){missed}")
            met &= ratio >= target
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
