"""`alphamill demo` once, as a newcomer runs it, and everything that it left on disk."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import redis

from alphamill.evaluation import Grade
from alphamill.factors import compute, parse
from alphamill.frames import KLINE_FIELDS, Interval, Panel
from alphamill.indicators import INDICATORS
from alphamill.lake import Lake
from alphamill.ledger import JobRecord, RedisLedger, RunRecord
from alphamill.live import Journal, Register, follow_chain
from alphamill.live.follow_up import newest_check
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.journal.redis import RedisJournal
from alphamill.report.values import usd, whole
from alphamill.runs.rows import as_traded
from alphamill.settings import LedgerSettings
from alphamill.sim.market import DEFAULT_PLANTED, SyntheticMarket, generate
from alphamill.stack.embedded_redis import EmbeddedRedis
from alphamill.usage import RedisUsage

pytestmark = [pytest.mark.slow, pytest.mark.stack]

N_SYMBOLS, N_MONTHS = 12, 13
PRICES = Path(__file__).resolve().parents[2] / "alphamill" / "llm" / "prices.toml"


@dataclass(frozen=True)
class Ended:
    """The demo after its end: what it said, what its ledger and counters remember, its files."""

    command: object
    code: int
    run: RunRecord
    jobs: list[JobRecord]
    usage: dict
    journal: list[CallRecord]
    folder: Path  # of the run's parquet

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / f"{name}.parquet")

    def results(self, stage: str) -> list[dict]:
        return [job.result for job in self.jobs if job.stage == stage]


@pytest.fixture(scope="module")
def ended(launch, tmp_path_factory) -> Ended:
    home = tmp_path_factory.mktemp("demo") / "home"
    command = launch(home, "demo", "--home", str(home))
    code = command.wait()
    command.expect_nothing_left()
    server = EmbeddedRedis(home)  # the same data, served again to be read
    try:
        with redis.Redis.from_url(server.start()) as client:
            ledger = RedisLedger(client, LedgerSettings())
            (run,) = ledger.runs()
            jobs = list(ledger.jobs(run.id))
            usage = RedisUsage(client).report(run.id)
            journal = list(RedisJournal(client).calls(run.id))
    finally:
        server.stop()
    folder = home / "lake" / "runs" / f"run={run.id}"
    return Ended(command, code, run, jobs, usage, journal, folder)


def test_it_ends_well_and_every_job_with_it(ended):
    assert ended.code == 0, ended.command.err
    assert ended.run.state == "done"
    assert {job.state.value for job in ended.jobs} == {"done"}
    assert ended.run.counts["fetch"] == {"done": N_SYMBOLS * N_MONTHS}


def test_it_used_real_servers_and_stopped_them(ended):
    """The fixture has asserted that no process, port or address file stayed."""
    assert len(ended.command.ports) >= 4, "Redis, exchange, model and Flower each have a port"
    assert len(ended.command.pids) >= 9, "five workers, beat, Flower and two simulators"


def test_the_terminal_shows_leaderboard_costs_and_where_the_files_lie(ended):
    out = ended.command.out
    factors = ended.table("factors")
    assert factors["verdict"].iloc[0] in out
    for row in factors.itertuples():
        traded = as_traded(row.expression, row.direction)
        begins = traded[:40].rsplit(" ", 1)[0]  # the rest may go on in the next line
        assert f"{row.hash[:8]}  {begins}" in out
    totals = ended.usage["totals"]
    (total,) = [line for line in out.splitlines() if line.startswith("total")]
    for measure in ("requests", "prompt_tokens", "completion_tokens"):
        assert whole(totals[measure]) in total
    assert usd(totals["cost_usd_micros"]) in total
    assert f"{ended.folder}/factors.parquet" in out
    assert "Traceback" not in out + ended.command.err


def test_the_commands_that_it_shows_open_the_files(ended):
    pandas_path = re.search(r"pd\.read_parquet\('(.+)'\)", ended.command.out)
    query = re.search(r"duckdb: +(.+)", ended.command.out)
    assert len(pd.read_parquet(pandas_path[1]))
    assert len(duckdb.sql(query[1]).fetchall()) == 10


def test_the_parquet_holds_what_the_ledger_says(ended):
    (published,) = ended.results("publish")
    trials, factors, calls = (ended.table(name) for name in ("trials", "factors", "calls"))
    assert published["missing"] == 0
    assert len(trials) == published["trials"]
    verdicts = factors["verdict"].value_counts().to_dict()
    assert {name: verdicts.get(name, 0) for name in Grade} == {
        name: published[name] for name in Grade
    }
    asked = [job for job in ended.jobs if job.stage.startswith("propose") or job.stage == "veto"]
    assert len(calls) == len(asked)
    assert set(calls["status"]) == {"settled"}
    evaluated = (trials["status"] == "evaluated").sum()
    (n_trials,) = set(factors["n_trials"])  # a repetition may count as a trial, never less
    assert 0 < evaluated <= n_trials <= len(trials)


@pytest.mark.parametrize("name", ["trials", "factors", "calls"])
def test_pandas_and_duckdb_read_the_same_run(ended, name):
    path = ended.folder / f"{name}.parquet"
    query = f"SELECT * FROM read_parquet('{path}', hive_partitioning=false)"  # noqa: S608
    seen = duckdb.sql(query).df()
    assert list(seen.columns) == list(ended.table(name).columns)
    assert len(seen) == len(ended.table(name)) > 0


@pytest.mark.parametrize("kind", ["klines", "features"])
def test_pandas_and_duckdb_read_the_same_lake(ended, kind):
    root = ended.folder.parents[1] / kind
    query = f"SELECT symbol, count(*) FROM '{root}/**/*.parquet' GROUP BY symbol"  # noqa: S608
    counted = dict(duckdb.sql(query).fetchall())
    read = pd.read_parquet(root, columns=["symbol"])
    assert counted == read["symbol"].value_counts().to_dict()
    bars = sum(result["rows"] for result in ended.results("fetch"))
    assert sum(counted.values()) == bars == N_SYMBOLS * SyntheticMarket().n_bars


def test_money_and_tokens_add_up_from_the_calls(ended):
    calls, totals = ended.table("calls"), ended.usage["totals"]
    assert totals["requests"] == len(calls)
    for measure in ("prompt_tokens", "cached_tokens", "completion_tokens", "cost_usd_micros"):
        assert totals[measure] == calls[measure].sum() > 0
    assert (calls["cost_usd_micros"] <= calls["reserved_usd_micros"]).all()
    by_tier = calls.groupby("tier")["cost_usd_micros"].sum().to_dict()
    assert by_tier == {row["tier"]: row["cost_usd_micros"] for row in ended.usage["by"]}


def test_every_cent_is_tokens_of_the_journal_times_the_price(ended, list_price):
    prices = tomllib.loads(PRICES.read_text(encoding="utf-8"))["models"]
    charged = {record.attempt: record.cost_usd_micros for record in ended.journal}
    assert charged == {
        record.attempt: list_price(record.to_row(), prices[record.model])
        for record in ended.journal
    }
    assert sum(charged.values()) == ended.usage["totals"]["cost_usd_micros"]
    calls = ended.table("calls")
    assert dict(zip(calls["attempt"], calls["cost_usd_micros"], strict=True)) == charged


def test_the_klines_are_the_exchanges_bit_for_bit(ended):
    market = generate(SyntheticMarket())
    lake = ended.folder.parents[1] / "klines" / "market=spot" / "interval=1h"
    assert sorted(path.name for path in lake.iterdir()) == sorted(f"symbol={s}" for s in market)
    for symbol, bars in market.items():
        # One file at a time: pandas adds the keys of the path as columns otherwise.
        months = sorted((lake / f"symbol={symbol}").glob("*.parquet"))
        stored = pd.concat([pd.read_parquet(path) for path in months])
        opened = stored["open_time"].astype("int64").to_numpy()
        assert np.array_equal(opened, bars.open_ms), symbol
        for name in KLINE_FIELDS:
            assert stored[name].to_numpy().tobytes() == getattr(bars, name).tobytes(), (
                symbol,
                name,
            )


def test_a_planted_factor_was_found(ended):
    """Measured here from the market itself, not by the command that claims it."""
    found = re.search(r"Planted factors found: (\d) of (\d)", ended.command.out)
    assert int(found[1]) >= 1
    market = generate(SyntheticMarket())
    panel = Panel(
        Interval.H1,
        next(iter(market.values())).open_ms,
        tuple(market),
        {
            name: np.column_stack([getattr(bars, name) for bars in market.values()]).astype(float)
            for name in KLINE_FIELDS
        },
    )
    planted = [_ranks(planted.expression, panel) for planted in DEFAULT_PLANTED]
    factors = ended.table("factors")
    held_up = factors[factors["verdict"].isin(["predictive", "tradable"])]["expression"]
    plain = [
        text
        for text in held_up
        if set(parse(text, fields=INDICATORS).fields).isdisjoint(INDICATORS)
    ]
    nearest = max(
        abs(wanted.corrwith(_ranks(text, panel), axis=1).mean())
        for text in plain
        for wanted in planted
    )
    assert nearest > 0.5


def _ranks(expression: str, panel: Panel) -> pd.DataFrame:
    return pd.DataFrame(compute(parse(expression, fields=INDICATORS), panel)).rank(axis=1)


def test_the_best_factor_was_followed_live_and_nothing_differs_unexplained(ended):
    """On a machine that stalls a bar may be late: that is named, and no fault."""
    [said] = re.findall(r"(\d+) of (\d+) values equal to batch to the bit", ended.command.out)
    assert int(said[1]) > 0
    lake = Lake(str(ended.folder.parents[1]))
    [live], _ = Register(lake).survey()
    journal = Journal(lake, live.id, live.started_ms)
    rows, head, broken = follow_chain(journal.read())
    assert (broken, rows >= 10, head) == (None, True, journal.head.hash)
    assert newest_check(lake, live.id).holds
    assert [followed.run for followed in live.spec.factors] == [ended.run.id]


def test_no_log_holds_a_traceback(ended):
    logs = list((ended.command.home / "logs").glob("*.log"))
    assert len(logs) >= 9
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace")
        assert "Traceback" not in text, log.name
        assert "ERROR" not in text, log.name


def test_the_run_says_what_was_asked(ended):
    summary = json.loads((ended.folder / "run.json").read_text(encoding="utf-8"))
    assert summary["run"] == ended.run.id
    assert summary["spec"] == ended.run.spec
    assert summary["missing"] == []
