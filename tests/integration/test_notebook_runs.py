"""`am.submit`, `run.wait()` and a run's frames, with real workers and a real Redis."""

from __future__ import annotations

import pytest

import alphamill as am
from alphamill.errors import AlphamillError, GiveUp
from alphamill.frames import Interval
from tests.deadlines import stack_s

EXPRESSION = "-ts_zscore(close, 24)"


@pytest.fixture(scope="module")
def mill(make_shared_mill, market):
    """Four symbols over two months of 4h, and who does what an `evaluate` run needs."""
    made = make_shared_mill(market(4, 2, Interval.H4))
    pools = ("fetch", "features", "evaluate")
    made.wait_until_here(made.control(), *(made.worker(pool, 1) for pool in pools))
    return made


@pytest.fixture
def at_the_mill(mill, monkeypatch):
    for name, value in mill.env.items():
        monkeypatch.setenv(name, value)
    mill.bind()
    return mill


def test_what_is_submitted_can_be_waited_for_and_read(at_the_mill, capfd):
    symbols = at_the_mill.source.market.coins
    names = [coin.symbol for coin in symbols]
    run = am.submit.evaluate([EXPRESSION], names, "4h", "2023-01-01", "2023-03-01")
    assert capfd.readouterr().out == ""
    assert run.wait(stack_s()).state == "done"
    assert run.id in capfd.readouterr().err

    trials = run.trials()
    assert list(trials["status"]) == ["evaluated"]
    assert trials.index.name == "#"
    # The same bars give the same figures without a worker.
    panel = am.lake().panel(names, "4h", "2023-01-01", "2023-03-01")
    score = am.factor(EXPRESSION).evaluate(panel)
    assert trials["rank_ic_mean"][1] == score.rank_ic_mean
    assert trials["net_sharpe"][1] == score.net_sharpe

    assert am.run().id == run.id  # the newest
    assert am.run(run.id[:12]).trials().equals(trials)
    with pytest.raises(GiveUp, match=r"an evaluate run and has no factors; .*run\.trials"):
        run.factors()
    # Asked for again it is joined, with an option of the command it is another.
    assert am.submit.evaluate(EXPRESSION, names, "4h", "2023-01-01", "2023-03-01").id == run.id
    span = ("4h", "2023-01-01", "2023-03-01")
    again = am.submit.evaluate(EXPRESSION, names, *span, horizon=[4, 1], again=True)
    assert again.id != run.id
    assert again.wait(stack_s(), quiet=True).state == "done"
    several = again.trials().set_index("horizon_bars")
    assert list(several.index) == [1, 4]
    assert several.loc[4, "score"] == run.trials().loc[1, "score"]


def test_a_run_that_fails_says_why(at_the_mill):
    run = am.submit.fetch(["NOSUCHUSDT"], "4h", "2023-01-01", "2023-02-01", unlisted=True)
    with pytest.raises(GiveUp, match=f"{run.id} failed; fetch: .*NOSUCHUSDT.*resume {run.id}"):
        run.wait(stack_s())
    assert run.state == "failed"
    with pytest.raises(GiveUp, match=f"{run.id} failed"):
        run.trials()


def test_a_run_that_does_not_end_is_not_waited_for_longer(at_the_mill):
    spec = at_the_mill.spec(salt="a model is asked, and nobody asks it")
    held = at_the_mill.ledger.open_run(spec.run_id, "fetch", spec.to_message(), 0)
    run = am.run(held.id)
    assert run.state == "submitting"
    with pytest.raises(TimeoutError, match="the run goes on"):
        run.wait(0)
    with pytest.raises(GiveUp, match=r"yet: 0 of 0 jobs; wait for it: run\.wait\(\)"):
        run.trials()


def test_what_the_command_refuses_is_raised(at_the_mill):
    span = ("4h", "2023-01-01", "2023-03-01")
    for call, said in (
        (lambda: am.submit.fetch("AAAUSD", *span), r"does not list AAAUSD .did you mean AAAUSDT"),
        (lambda: am.submit.fetch("aaausdt", *span), "did you mean AAAUSDT"),
        (lambda: am.submit.fetch("AAAUSDT", "4h", "2023-03-01", "2023-01-01"), "must come after"),
        (lambda: am.submit.fetch([], *span), "at least one symbol"),
        (
            lambda: am.submit.fetch("AAAUSDT", *span, prioritty=3),
            r"no option 'prioritty' of .*"
            r"alphamill fetch; did you mean priority\?",
        ),
        (lambda: am.submit.fetch("AAAUSDT", *span, priority=12), "12 is not in the range"),
        (lambda: am.submit.evaluate("-clos", "AAAUSDT", *span), r"did you mean close\?"),
        (lambda: am.submit.mine("AAAUSDT", *span, budget_usd=0), "not in the range"),
        (lambda: am.submit.mine("AAAUSDT", *span, horizon=[1, 4]), "takes one --horizon"),
        (lambda: am.submit.mine("AAAUSDT", *span), "ALPHAMILL_LLM_API_KEY"),
        (lambda: am.run("evaluate-nothing"), r"no run 'evaluate-nothing'; .*there are: "),
    ):
        with pytest.raises(AlphamillError, match=said):
            call()
