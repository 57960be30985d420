"""`am.run(...)` of what lies in a lake, without Redis."""

from __future__ import annotations

import pytest

import alphamill as am
from alphamill import testing
from alphamill.controls.planted import Search
from alphamill.errors import GiveUp
from alphamill.ledger import JobSpec
from alphamill.settings import LedgerSettings
from alphamill.sim.market import DEFAULT_PLANTED
from alphamill.testing import WorkedRun


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> WorkedRun:
    from alphamill.controls.markets import ControlMarket

    market = ControlMarket(seed=3, n_symbols=6, n_bars=2500, planted=DEFAULT_PLANTED)
    return testing.work_market(tmp_path_factory.mktemp("mined"), market, Search(candidates=4))


def test_frames_are_the_published_tables(mined: WorkedRun) -> None:
    run = am.run(mined.spec.run_id[:9], lake=mined.lake.uri)
    assert run.id == mined.spec.run_id == am.run(lake=mined.lake.uri).id
    assert run.state == "done"
    for name, frame in (
        ("factors", run.factors()),
        ("trials", run.trials()),
        ("calls", run.calls()),
    ):
        rows = mined.table(name)
        assert len(frame) == len(rows) > 0
        assert list(frame.columns) == list(rows[0])
        assert list(frame.index[:2]) == [1, 2]
    board = [factor.expression for factor in run.results.factors]
    assert list(run.factors()["expression"]) == board
    assert run.wait() is run
    assert am.factor(board[0]).hash == run.factors()["hash"][1]


def test_a_run_that_is_not_there_is_told_the_nearest(mined: WorkedRun, tmp_path) -> None:
    known = mined.spec.run_id
    with pytest.raises(GiveUp, match=rf"no run .* did you mean {known}\? there are: {known}"):
        am.run(known[:-1] + "x", lake=mined.lake.uri)
    with pytest.raises(GiveUp, match=r"no run has results in .*am\.submit\.mine"):
        am.run(lake=tmp_path)


def test_without_redis_a_run_of_the_settings_lake_is_read(
    mined: WorkedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPHAMILL_LAKE", mined.lake.uri)
    monkeypatch.setenv("ALPHAMILL_REDIS_URL", "redis://127.0.0.1:9/0")
    assert len(am.run(mined.spec.run_id).factors())
    with pytest.raises(GiveUp, match=r"no run 'mine-x'.* nor is it known .*127\.0\.0\.1:9"):
        am.run("mine-x")


def test_a_run_that_was_resumed_is_waited_for_again(
    mined: WorkedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, run = testing.MemoryLedger(LedgerSettings()), am.run(lake=mined.lake.uri)
    monkeypatch.setattr("alphamill.notebook.run._ledger", lambda: ledger)
    assert run.state == "done", "the ledger has forgotten it"
    ledger.open_run(run.id, "mine", mined.spec.to_message())
    ledger.add_jobs(run.id, [JobSpec("ask", "propose.quick_scan", "llm.quick_scan", {})])
    ledger.seal(run.id)
    assert run.state == "running"
    with pytest.raises(TimeoutError, match="0 of 1 jobs after 0 s"):
        run.wait(0)
    claim = ledger.claim(run.id, "ask", "w")
    assert claim is not None
    ledger.finish(claim, {})
    assert run.wait().state == "done"
    assert len(run.factors())


def test_the_sample_is_equal_every_time(tmp_path) -> None:
    first, second = am.sample_lake(tmp_path / "one"), am.sample_lake()
    symbols = first.symbols("1h")
    assert len(symbols) == 8
    assert first.klines(symbols, "1h").equals(second.klines(second.symbols("1h"), "1h"))
    mined = am.sample_lake(mined=True)
    assert len(am.run(lake=mined.uri).factors())
