"""A futures run with all that is beside bars, from a simulated exchange to a panel and a check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alphamill.factors.wide import wide_units
from alphamill.flow import plan
from alphamill.frames import Interval, Market, Month, Wide
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.runs.published import PublishedRun
from alphamill.settings import load_settings
from alphamill.sim.exchange import ArchiveFault, ExchangeConfig, ExchangeServer
from alphamill.sim.market import SyntheticMarket, SyntheticSource
from alphamill.stages.panel import PanelDeps, panel_in_memory
from alphamill.stages.registry import STAGES
from alphamill.usage.bars import BarCounters
from tests.trade_sources import SMALL
from workers import tasks
from workers.resources import Resources

MONTH = Month(2023, 2)
HOUR = 3_600_000
TOGETHER = (
    "rank(signed_volume / volume) - rank(premium)",
    "ts_mean(trade_imbalance, 5) * ts_zscore(open_interest, 12)",
    "rank(vpin) * rank(last_funding_rate) + rank(mark_price / index_price)",
)
OF_FUTURES = tuple(kind for kind in Wide if kind is not Wide.FLOW)


@pytest.mark.parametrize(("market", "of"), [(Market.USD_M, "USDT"), (Market.COIN_M, "USD_PERP")])
def test_what_is_asked_for_is_fetched_held_by_the_panel_and_compared(
    market, of, redis_url, tmp_path, monkeypatch
):
    source = SyntheticSource(
        SyntheticMarket(
            coins=tuple(replace(SMALL, symbol=name) for name in ("BTCUSDT", "ETHUSDT")),
            interval=Interval.H1,
            planted=(),
            start_ms=Month(2023, 1).start_ms,
            end_ms=MONTH.end_ms,
        )
    )
    damaged = ArchiveFault.parse("bad_checksum:ETH*-metrics-2023-02-03")
    with ExchangeServer(ExchangeConfig(archive_faults=(damaged,)), source) as server:
        settings = load_settings(
            {
                "ALPHAMILL_HOME": str(tmp_path),
                "ALPHAMILL_REDIS_URL": redis_url,
                "ALPHAMILL_BINANCE_URL": server.url,
                "ALPHAMILL_BINANCE_UM_URL": server.url,
                "ALPHAMILL_BINANCE_CM_URL": server.url,
                "ALPHAMILL_ARCHIVE_URL": server.url,
            }
        )
        tools = Resources(settings)
        monkeypatch.setattr(tasks, "resources", lambda: tools)
        monkeypatch.setattr(tasks, "publish", lambda hints: 0)
        symbols = (f"BTC{of}", f"ETH{of}")
        spec = RunSpec(
            RunKind.FETCH,
            settings.lake_uri,
            market,
            symbols,
            (Interval.H1,),
            MONTH.start_ms,
            MONTH.end_ms,
            wide=OF_FUTURES,
        )
        run = run_all(spec, tools)
        assert run.state == "done", list(tools.ledger.dead(run.id))
        fetched = [dict(job.result) for job in tools.ledger.jobs(run.id) if job.stage == "wide"]
        verified = run_all(replace(spec, verify_frac=1.0), tools)
        assert verified.state == "done"
        landed = BarCounters(tools.redis).read(verified.id)
        scored = run_all(with_flow(spec), tools)
        assert scored.state == "done", list(tools.ledger.dead(scored.id))
    assert sum(facts["requests"] for facts in fetched) == 0  # all of it was in files
    noted = [facts["archive_note"] for facts in fetched if facts["archive_note"]]
    assert any("quarantined ETH" in note for note in noted)
    assert (landed.corrected, landed.appeared, landed.vanished) == (0, 0, 0)
    lake = Lake(settings.lake_uri)
    deps = PanelDeps(lake, replace(spec, kind=RunKind.EVALUATE), indicators=False)
    panel = panel_in_memory(Interval.H1, deps, list(wide_units(OF_FUTURES)))
    for column, symbol in enumerate(panel.symbols):
        check(panel, column, source, market, symbol)
    assert lake.list("quarantine_metrics")
    trials = PublishedRun.open(lake, scored.id).trials
    assert [trial.status for trial in trials] == ["evaluated"] * len(TOGETHER)
    own = panel_in_memory(
        Interval.H1, PanelDeps(lake, with_flow(spec)), ["signed_volume", "premium"]
    )
    assert np.isfinite(own["premium"]).all()
    assert np.isfinite(own["signed_volume"]).all()


def with_flow(spec):
    """Three days scored by what is beside bars and by their own trades at once."""
    day = 24 * HOUR
    return replace(
        spec,
        kind=RunKind.EVALUATE,
        start_ms=spec.start_ms + 4 * day,
        end_ms=spec.start_ms + 7 * day,
        expressions=TOGETHER,
        wide=tuple(Wide),
    )


def run_all(spec, tools):
    """Every job of the run, as a worker does it."""
    ledger = tools.ledger
    run = ledger.open_run(spec.run_id, spec.kind.value, spec.to_message(), 0)
    ledger.add_jobs(run.id, plan(spec))
    ledger.seal(run.id)
    for job in plan(spec):
        tasks.attend(run.id, job.id, STAGES[job.stage])
    return ledger.run(run.id)


def check(panel, column, source, market, symbol):
    """Every field is what the simulated exchange had told by each bar's close."""
    closes = panel.times_ms + HOUR
    known = source.metrics(market, symbol)
    out_ms = known.open_ms[known.filed] + 6 * 60_000
    last = np.searchsorted(out_ms, closes, side="right") - 1
    fresh = closes - out_ms[last] <= 30 * 60_000
    for name in wide_units((Wide.METRICS,)):
        held, own = panel[name][:, column], known.values[name][known.filed][last]
        lost = np.isnan(held)
        np.testing.assert_array_equal(held[~lost], own[~lost])
        assert not lost[fresh].any() or symbol.startswith("ETH")  # of which a day is damaged
        assert lost.mean() < 0.1
    for name, kind in (
        ("premium", Wide.PREMIUM),
        ("mark_price", Wide.MARK),
        ("index_price", Wide.INDEX),
    ):
        bars = source.prices(market, symbol, kind, Interval.H1)
        inside = (bars.open_ms >= panel.times_ms[0]) & (bars.open_ms <= panel.times_ms[-1])
        np.testing.assert_array_equal(panel[name][:, column], bars.close[inside])
    settled = source.funding(market, symbol)
    last = np.searchsorted(settled.stamp_ms, closes, side="left") - 1
    warm = panel.times_ms >= panel.times_ms[0] + 16 * HOUR
    rates = panel["last_funding_rate"][:, column]
    np.testing.assert_array_equal(rates[warm], settled.rate[last][warm])
    hours = panel["funding_interval_hours"][:, column]
    np.testing.assert_array_equal(hours[warm], settled.hours[last][warm])
