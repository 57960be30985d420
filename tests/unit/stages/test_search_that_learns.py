"""What a round is told, what of a reply is mended, and when asking ends."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Interval, Market
from alphamill.jobs import ProposeJob, RunKind, RunSpec
from alphamill.language import FIELD_UNITS, language_manual, read_expression
from alphamill.llm.call import PaidReply
from alphamill.llm.journal.budget import BudgetExhausted
from alphamill.llm.messages import ChatReply, TokenUsage
from alphamill.llm.prompts import (
    Setting,
    detailed_analysis_prompt,
    final_verification_prompt,
    quick_scan_prompt,
)
from alphamill.runs.failures import Unasked, group_unasked
from alphamill.runs.figures import Measures
from alphamill.runs.rows import Trial
from alphamill.runs.schemas import (
    PROPOSALS,
    RANKING,
    TRIALS,
    VALIDATION,
    VERDICTS,
    VETO,
    rows_in,
    trials_key,
    write_rows,
)
from alphamill.search.feedback import THEMES, feedback, shape, theme_of, tried
from alphamill.search.stopping import expected_micros, why_stop
from alphamill.settings import SearchSettings, Tier, TierSettings
from alphamill.stages import propose
from alphamill.stages.asking import AskingDeps
from tests.rows import CALL, figures_of

SPEC = RunSpec(
    kind=RunKind.MINE,
    lake="test",
    market=Market.SPOT,
    symbols=("BTCUSDT", "ETHUSDT"),
    intervals=(Interval.H1,),
    start_ms=0,
    end_ms=1,
    candidates=4,
    budget_usd_micros=1_000_000,
    tiers=dict.fromkeys(Tier, TierSettings(model="scripted")),
)
JOB = ProposeJob(Tier.DETAILED_ANALYSIS, Interval.H1, 0)


class Model:
    """Answers in turn; an exception is raised."""

    def __init__(self, *answers):
        self.answers, self.calls, self.records = list(answers), [], {}

    def ask(self, call):
        self.calls.append(call)
        said = self.answers.pop(0)
        if isinstance(said, Exception):
            raise said
        usage = TokenUsage(10, 0, 10)
        return PaidReply(ChatReply(said, "stop", "scripted", usage, 1, "scripted"), False, 100)

    def answered(self, _run, call_id):
        return self.records.get(call_id)


def proposal(*expressions):
    return json.dumps({"candidates": [{"expression": text} for text in expressions]})


def proposed(lake, model, job=JOB, spec=SPEC, **deps):
    facts = propose.run(job, AskingDeps(lake, "run", spec, model, 10**9, call_id="call", **deps))
    return facts, rows_in(lake, facts.key)


def trial(text, t=0.0, number=0, status="evaluated", call="c", cost=100, **more):
    own = {
        "interval": Interval.H1,
        "expression": text,
        "proposed": text,
        "status": status,
        "discovery": Measures(rank_ic_t=t),
        "round": number,
        "tier": "quick_scan",
        "call_id": call,
        "call_cost_usd_micros": cost,
    }
    if status not in ("invalid", "unreadable"):
        own["hash"] = read_expression(text).hash
    return Trial(**own | more)


# --- repair ---


def test_one_call_mends_all_that_free_repair_could_not(lake):
    mended = {
        "repairs": [
            {"index": 2, "expression": "ts_mean(close, 5) / close"},
            {"index": 1, "expression": None},
        ]
    }
    said = proposal("rank(returns", "close +* open", "average close of 5 over close")
    model = Model(said, json.dumps(mended))
    facts, rows = proposed(lake, model)
    assert [call.call_id for call in model.calls] == ["call", "call.repair"]
    assert model.calls[1].tier == "quick_scan"
    asked = model.calls[1].messages[1].content
    assert '1. "close +* open" | col 8' in asked
    assert '2. "average close of 5 over close" | col' in asked
    assert "rank(returns" not in asked.partition("## Task")[0]  # mended for nothing
    fates = [(row["status"], row["repair"]) for row in rows]
    assert fates == [("repaired", "free"), ("invalid", ""), ("repaired", "model")]
    assert rows[2]["proposed"] == "average close of 5 over close"
    assert rows[2]["expression"] == read_expression("ts_mean(close, 5) / close").text
    assert {row["call_cost_usd_micros"] for row in rows} == {200}
    assert facts.cost_usd_micros == 200


def test_a_group_table_that_the_run_lacks_is_told_to_whoever_mends(lake):
    model = Model(proposal("group_rank(returns, sector)"), json.dumps({"repairs": []}))
    rows = proposed(lake, model)[1]
    assert rows[0]["status"] == "invalid"
    assert "sector" in model.calls[1].messages[1].content
    tables = replace(SPEC, groups={"sector": dict.fromkeys(SPEC.symbols, "all")})
    rows = proposed(lake, Model(proposal("group_rank(returns, sector)")), spec=tables)[1]
    assert rows[0]["status"] == "parsed"


@pytest.mark.parametrize(
    "said", ["rank(returns)", "at most 500 characters, why it should work", "...", "1.0.0.0"]
)
def test_without_a_fault_that_can_be_mended_nobody_is_paid_to_repair(lake, said):
    model = Model(proposal(said))
    proposed(lake, model)
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "no",
        "[]",
        '{"repairs": 5}',
        '{"repairs": [{"index": 9, "expression": "close"}]}',
        '{"repairs": [{"index": 1, "expression": "still +* bad"}]}',
        '{"repairs": [{"index": true, "expression": "close"}]}',
        '[[{"index": 1}], "x", null]',
        GiveUp("no budget"),
        RetryLater("HTTP 500"),
    ],
)
def test_a_repair_that_fails_leaves_the_first_reason(lake, reply):
    facts, rows = proposed(lake, Model(proposal("close +* open", "rank(returns)"), reply))
    assert [row["status"] for row in rows] == ["invalid", "parsed"]
    assert rows[0]["reason"].startswith("col 8")
    assert facts.cost_usd_micros == (100 if isinstance(reply, Exception) else 200)


def test_a_repair_that_could_not_be_sent_is_waited_for(lake):
    with pytest.raises(RetryLater):
        proposed(lake, Model(proposal("close +* open"), RetryLater("full", 1.0, False)))


def test_what_was_not_mended_before_is_not_paid_for_again(lake):
    key = trials_key("run", Interval.H1, 0, Tier.QUICK_SCAN, 0)
    write_rows(lake, key, [trial("close +* open", status="invalid", reason="col 8")], TRIALS)
    model = Model(proposal("close +* open", "rank(returns)"))
    _, rows = proposed(lake, model)
    assert [row["status"] for row in rows] == ["invalid", "parsed"]
    assert len(model.calls) == 1


def test_a_repair_answers_the_list_that_it_was_asked_about(lake):
    """Of a step that was asked later, for which more money came, it could not know."""
    lists = ["close +* open", "average close of 5 over close"]
    mends = [{"index": n, "expression": f"ts_mean(close, {n + 4}) / close"} for n in (1, 2)]
    answers = (proposal(*lists), json.dumps({"repairs": mends}))
    model = Model(*answers * 2)
    _, before = proposed(lake, model)
    digests = [("", message.digest) for message in model.calls[1].messages]
    sent = replace(CALL, call_id="call.repair", started_ms=2_000, message_digests=digests)
    model.records = {
        "call.repair": sent,
        "earlier": replace(CALL, call_id="earlier", started_ms=1_000),
        "later": replace(CALL, call_id="later", started_ms=3_000),
    }
    key = trials_key("run", Interval.H1, 0, Tier.QUICK_SCAN, 0)
    write_rows(lake, key, [trial(lists[0], status="invalid", call="later")], TRIALS)
    _, after = proposed(lake, model)
    assert [row["expression"] for row in after] == [row["expression"] for row in before]
    assert model.calls[3].messages == model.calls[1].messages
    # Had it been told of it, its list would have been the shorter one.
    write_rows(lake, key, [trial(lists[0], status="invalid", call="earlier")], TRIALS)
    model.answers = [answers[0], json.dumps({"repairs": mends[:1]})]
    _, rows = proposed(lake, model)
    assert [row["status"] for row in rows] == ["invalid", "repaired"]


@pytest.mark.parametrize("budget", ["run", "day"])
def test_a_repair_that_no_budget_pays_for_is_told_and_can_be_asked_later(lake, budget):
    refused = BudgetExhausted("no money", budget, 700)
    facts, rows = proposed(lake, Model(proposal("close +* open", "rank(returns)"), refused))
    assert [row["status"] for row in rows] == ["invalid", "parsed"]
    said = facts.to_message()
    assert (said["unfunded"], said["needs_usd_micros"]) == (budget, 700)
    assert "stopped" not in said
    (group,) = group_unasked([("propose.quick_scan", said)] * 2)
    assert group == Unasked("repair", 2, "no money", budget, 1_400)


# --- novelty ---


def test_what_was_proposed_before_costs_no_evaluation(lake):
    key = trials_key("run", Interval.H1, 0, Tier.QUICK_SCAN, 0)
    write_rows(lake, key, [trial("rank(returns)", 1.0)], TRIALS)
    said = proposal("rank(returns)", "rank(vwap / open)", "rank( vwap/open )")
    _, rows = proposed(lake, Model(said))
    assert [row["status"] for row in rows] == ["duplicate", "parsed", "duplicate"]


def test_a_job_done_again_does_not_meet_its_own_trials(lake):
    model = Model(*[proposal("rank(returns)")] * 2)
    _, first = proposed(lake, model)
    key = trials_key("run", Interval.H1, 0, Tier.DETAILED_ANALYSIS, 0)
    write_rows(lake, key, [trial("rank(returns)", 1.0, tier="detailed_analysis")], TRIALS)
    _, again = proposed(lake, model)
    assert again == first
    assert model.calls[0].messages == model.calls[1].messages


def test_themes_differ_between_neighbours_and_rounds():
    symbols = tuple(f"COIN{n}USDT" for n in range(8))
    for number in range(4):
        assert {theme_of(symbols, symbol, number) for symbol in symbols} == set(THEMES)
    seen = {theme_of(symbols, symbols[0], number) for number in range(8)}
    assert seen == set(THEMES)


# --- feedback ---


def test_the_best_share_parts_and_failures_have_their_own():
    means = (
        "ts_mean",
        "ts_max",
        "ts_min",
        "ts_median",
        "ema",
        "rma",
        "ts_linreg",
        "delay",
        "decay_exp",
        "ts_forecast",
    )
    best = [
        trial(f"rank(ts_mean(volume, 12)) * close / {mean}(close, 5)", 9 - n / 10)
        for n, mean in enumerate(means)
    ]
    worse = [trial(f"ts_std(returns, 7) / open * {n}", 0.1) for n in range(2, 10)]
    told = feedback([*worse, *best])
    assert "ts_mean(volume, 12) (in 10 of 10)" in told.shared
    assert any(part.startswith("ts_std(returns, 7)") for part in told.fruitless)
    assert not set(told.shared) & set(told.fruitless)
    assert [one.expression for one in told.worked] == [one.expression for one in best]
    assert told.known
    assert not {one.expression for one in told.worked} & set(told.known)


def test_the_best_are_not_windows_of_one_idea():
    same = [trial(f"-ts_zscore(close, {n})", 9 - n / 100) for n in range(5, 25)]
    other = [
        trial(f"rank({name} / vwap)", 4.0 - n / 10)
        for n, name in enumerate(("high", "low", "open"))
    ]
    told = feedback([*other, *same])
    assert [one.expression for one in told.worked] == [
        row.expression for row in (*same[:3], *other)
    ]
    assert told.known[0] == same[3].expression
    shapes = [shape(text) for text in ("ts_mean(adv20, 5) * 0.5", "rsi_14 / ts_std(rsi_14, 1e3)")]
    assert shapes == ["ts_mean(adv20, #) * #", "rsi_14 / ts_std(rsi_14, #)"]


def test_what_is_weak_did_not_work_unless_nothing_did_better():
    weak, strong = trial("rank(low / vwap)", 0.3), trial("rank(high / vwap)", -1.5)
    assert [one.expression for one in feedback([weak, strong]).worked] == [strong.expression]
    assert [one.expression for one in feedback([weak]).worked] == [weak.expression]


def test_feedback_of_nothing_and_of_failures_alone():
    assert feedback([]).known == ()
    told = feedback([trial("close +* open", status="invalid", hash=None, reason="col 8")])
    assert (told.worked, told.shared, len(told.failed)) == ((), (), 1)


def test_failures_are_counted_by_reason_with_the_latest_as_example():
    rows = [
        *[
            trial(f"{name} +* open", status="invalid", reason=f"col {n}: unknown operator '{name}'")
            for n, name in enumerate(("foo", "bar", "baz"), 8)
        ],
        *[
            trial(
                f"rank(ts_mean(close, {n}))",
                status="unclean",
                reason=f"rank(ts_mean(close, {n})): raw price",
            )
            for n in (5, 6)
        ],
        trial("rank(returns)", 2.0),
        trial("rank(returns)", status="duplicate", reason="before"),
        trial("rank(volume / adv20)", -0.4),
        trial("rank(vwap / close)", 0.9),
        trial("", status="unreadable", hash=None, reason="the reply was cut at max_tokens"),
    ]
    assert [(one.count, one.reason, one.example) for one in feedback(rows).failed] == [
        (3, "does not parse: col 10: unknown operator 'baz'", "baz +* open"),
        (2, "means nothing: raw price", "rank(ts_mean(close, 6))"),
        (2, "weak, t within 1 of 0", "rank(vwap / close)"),
        (1, "proposed before, refused", "rank(returns)"),
        (1, "reply: the reply was cut at max_tokens", ""),
    ]


# What a prompt may be told of a trial. Every other column, of any table, must leave it as it is.
TOLD = {
    "expression",
    "proposed",
    "hypothesis",
    "hash",
    "status",
    "reason",
    "rank_ic_mean",
    "rank_ic_t",
    "time_series_rank_corr",
    "time_series_t",
    "turnover_per_bar",
    "break_even_bps",
}
TABLES = [TRIALS, VALIDATION, RANKING, VERDICTS, VETO]
UNTOLD = {field.name: field.type for table in TABLES for field in table if field.name not in TOLD}


def as_told(rows):
    """All that three tiers say to models of these trials."""
    setting, learned = Setting("1h"), feedback(rows, cost_bps=11.0)
    best = [tried(row) for row in rows if row.evaluated]
    prompts = [
        quick_scan_prompt("", setting, learned, "BTCUSDT", [], {}, 4),
        detailed_analysis_prompt("", setting, learned, 4),
        final_verification_prompt("", setting, best),
    ]
    return "".join(messages[-1].content for messages in prompts)


def value_of(column, number):
    """A value that would be noticed."""
    kind = UNTOLD[column]
    if column == "interval":
        return ("4h", "1d", "1w")[number - 1]
    if pa.types.is_string(kind):
        return f"leaked{number}"
    return number % 2 == 0 if pa.types.is_boolean(kind) else 77_770 + number


@pytest.mark.parametrize("column", UNTOLD)
def test_no_column_but_those_meant_reaches_a_prompt(column):
    """Validation, holdout, verdicts and costs: with each of them changed the prompts stay equal."""
    more = {"hypothesis": "why", "direction": 1}
    rows = [
        figures_of(
            trial(text, t, **more), discovery={"rank_ic_mean": 0.02, "turnover_per_bar": 0.1}
        )
        for text, t in (("rank(returns)", 2.0), ("rank(vwap / close)", 0.5))
    ]
    for number in (1, 2):
        changed = [
            Trial.from_row(row.to_row() | {column: value_of(column, number + at)})
            for at, row in enumerate(rows)
        ]
        assert as_told(changed) == as_told(rows)


@pytest.mark.parametrize(
    "change",
    [
        {"rank_ic_t": 3.0},
        {"rank_ic_mean": 0.5},
        {"turnover_per_bar": 1.5},
        {"break_even_bps": 2.5},
        {"hypothesis": "other"},
        {"expression": "rank(vwap)"},
    ],
)
def test_the_columns_that_are_told_do_reach_a_prompt(change):
    figures = {"rank_ic_mean": 0.02, "turnover_per_bar": 0.1}
    row = figures_of(trial("rank(returns)", 2.0, hypothesis="why"), discovery=figures)
    assert as_told([Trial.from_row(row.to_row() | change)]) != as_told([row])


# --- stopping ---

ROUNDS = [
    trial("rank(close)", 3.5, 0, call="a", cost=400),
    trial("rank(open)", 1.0, 0, call="a", cost=400),
    trial("rank(high)", -3.2, 1, call="b", cost=500),
    trial("rank(close)", 3.5, 1, call="b", cost=500, status="duplicate"),
    trial("rank(low)", 2.9, 2, call="c", cost=600),
]


@pytest.mark.parametrize(
    ("search", "number", "age_s", "reason"),
    [
        ({}, 3, 1e9, None),
        ({"max_hours": 1}, 0, 3599, None),
        ({"max_hours": 1}, 0, 3600, "older than 1 h"),
        ({"enough_promising": 2}, 1, 0, None),
        ({"enough_promising": 2}, 2, 0, "2 candidates are promising"),
        ({"enough_promising": 3, "promising_t": 2.5}, 3, 0, "3 candidates"),
        ({"max_usd_per_promising": 0.0008}, 3, 0, None),
        ({"max_usd_per_promising": 0.0007}, 3, 0, "$0.0007333"),
        ({"max_usd_per_promising": 0.0000001}, 0, 0, None),  # nothing is known before the first
    ],
)
def test_rounds_end_for_the_reasons_set(search, number, age_s, reason):
    said = why_stop(number, ROUNDS, SearchSettings(**search), age_s)
    if reason is None:
        assert said is None
    else:
        assert reason in said


def test_the_expected_cost_counts_each_call_once_and_grows_while_nothing_is_found():
    search = SearchSettings()
    assert expected_micros(ROUNDS[:2], search) == 400 / 1.5
    assert expected_micros(ROUNDS, search) == (500 + 600) / 1.5
    idle = [*ROUNDS, *[trial("rank(vwap)", 0.1, n, call=f"x{n}", cost=600) for n in (3, 4)]]
    assert expected_micros(idle, search) == 1200 / 0.5


def test_a_search_that_finds_windows_of_one_idea_alone_is_ended():
    search = SearchSettings(max_usd_per_promising=0.0012)
    rounds = [trial(f"ts_mean(returns, {n + 2})", 5.0, n, call=str(n), cost=400) for n in range(4)]
    names = ("close", "open", "high", "low")
    fresh = [
        replace(one, expression=f"rank({name})") for one, name in zip(rounds, names, strict=True)
    ]
    assert why_stop(4, fresh, search, 0) is None
    assert "$0.0016" in (why_stop(4, rounds, search, 0) or "")


@pytest.mark.parametrize(
    ("search", "reason"),
    [
        ({"max_hours": 1}, "max_hours"),
        ({"enough_promising": 2}, "enough_promising"),
        ({"max_usd_per_promising": 0.0001}, "max_usd_per_promising"),
    ],
)
@pytest.mark.parametrize("tier", [Tier.QUICK_SCAN, Tier.DETAILED_ANALYSIS])
def test_a_stopped_round_asks_nobody_and_says_why(lake, search, reason, tier):
    key = trials_key("run", Interval.H1, 0, Tier.QUICK_SCAN, 0)
    write_rows(lake, key, [one for one in ROUNDS if one.evaluated], TRIALS)
    spec = replace(SPEC, search=SearchSettings(**search))
    model = Model()
    job = ProposeJob(tier, Interval.H1, 3, "BTCUSDT" if tier is Tier.QUICK_SCAN else "")
    facts, rows = proposed(lake, model, job, spec, age_s=4000)
    assert reason in facts.stopped
    assert (rows, model.calls) == ([], [])


def test_a_candidate_whose_reply_broke_off_is_marked(lake):
    said = proposal("rank(close)", "rank(returns)", "rank(vwap / open)")[:-25]
    _, rows = proposed(lake, Model(said))
    assert [(row["status"], row["cut"]) for row in rows] == [
        ("unclean", False),
        ("parsed", False),
        ("unreadable", None),
    ]
    closed = said.index('"rank(returns)"') + len('"rank(returns)"')
    _, rows = proposed(lake, Model(said[:closed]))
    assert [row["cut"] for row in rows] == [False, True, None]


def test_a_row_holds_what_the_schema_names(lake):
    facts, rows = proposed(lake, Model(proposal("rank(close)")))
    stated = {"run": "run", "interval": "1h", "round": 0, "tier": "detailed_analysis"}
    assert set(rows[0]) == set(PROPOSALS.names) | {"run"}
    assert stated.items() <= rows[0].items()
    assert not set(lake.read(facts.key).column_names) & set(stated), "said by the path"


def test_what_a_prompt_shows_is_an_indicator_without_a_price_level():
    assert {FIELD_UNITS[name] for name in propose.SHOWN} == {"ratio"}
    assert set(language_manual().split()) >= set(propose.SHOWN)
