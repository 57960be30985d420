"""Runs over one lake: what an earlier one admitted is taken, and two at once find each other's."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console
from scipy.stats import norm

from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import Search
from alphamill.controls.planted import spec_of as mining
from alphamill.errors import GiveUp
from alphamill.evaluation import GateThresholds, Grade, Segment, information_coefficient
from alphamill.frames import Interval
from alphamill.jobs import VerifyJob
from alphamill.lake import Lake, run_key
from alphamill.language import read_expression
from alphamill.replay.factor import recheck
from alphamill.replay.run import replay
from alphamill.report.terminal.library import library_table
from alphamill.runs.known_factors import KnownFactors
from alphamill.runs.library import Moment, admit, entries, library_key, look_up, recorded, remove
from alphamill.runs.published import PublishedRun
from alphamill.runs.reader import SegmentReader
from alphamill.runs.rows import Admission
from alphamill.runs.schemas import LIBRARY, RunDeps
from alphamill.search.feedback import TAKEN_SHOWN, feedback
from alphamill.settings import SearchSettings, SegmentSettings
from alphamill.sim.market import PlantedFactor
from alphamill.stages import verify
from alphamill.testing import ProposingChat, work_market
from producers.cli import main
from tests import rows
from tests.deadlines import work_s

PLANTED = "-ts_zscore(close, 24)"
VARIANT = "-ts_zscore(close, 26)"
OTHER = "ts_mean(taker_buy_base / volume, 12)"
H1 = Interval.H1
MARKET = ControlMarket(
    seed=5, n_symbols=6, n_bars=1200, planted=(PlantedFactor(PLANTED, 0.2, 1),), ragged=False
)
# The pooled evidence of a market this small; the signs must still hold.
EASY = GateThresholds(
    validation_t=0.1,
    holdout_t=0.1,
    out_of_sample_t=0.1,
    fdr=0.99,
    deflated_sharpe=0.01,
    coverage=0.5,
)


def mine(folder, salt, *expressions, **changes):
    """The run's mill, its spec, and the model that proposed nothing else."""
    chat, segments = ProposingChat(*expressions), SegmentSettings(horizon_bars=1)
    got = work_market(
        folder, MARKET, None, chat, salt=salt, gates=EASY, segments=segments, **changes
    )
    return got.mill, got.spec, chat


def prompts(chat):
    return [request.messages[-1].content for request in chat.requests]


def grades(mill, spec):
    return {row["expression"]: row["verdict"] for row in mill.table(spec, "factors")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A first run that admits the planted formula, and a second that meets it again."""
    folder = tmp_path_factory.mktemp("lake")
    first = mine(folder, "first", PLANTED, OTHER)
    second = mine(folder, "second", PLANTED, VARIANT, OTHER)
    return first, second


def test_what_a_run_admitted_is_in_the_library_and_nothing_else(runs):
    (mill, spec, _), _ = runs
    assert grades(mill, spec)[PLANTED] in ("predictive", "tradable")
    admitted = [e for e, verdict in grades(mill, spec).items() if Grade(verdict).admitted]
    there = mill.lake.read(library_key(spec, H1)).to_pylist()
    own = [row for row in there if row["run"] == spec.run_id]
    assert [row["expression"] for row in own] == admitted
    assert [row["number"] for row in there] == list(range(len(there)))


def test_the_first_run_knew_nothing_and_says_so(runs):
    (mill, spec, chat), _ = runs
    assert recorded(mill.lake, spec.run_id, H1, Moment.START) == []
    assert {row["earlier_factors"] for row in mill.table(spec, "factors")} == {0}
    assert not any("## Taken" in prompt for prompt in prompts(chat))


def test_the_next_run_is_told_what_is_taken_and_no_number_of_it(runs):
    (mill, first, _), (_, _, chat) = runs
    asked = [prompt for prompt in prompts(chat) if "## Taken" in prompt]
    assert len(asked) == len(MARKET.symbols) + 1  # not the review of the finalists
    section = asked[0].split("## Taken")[1].split("\n## ")[0]
    names = sorted(
        row["expression"]
        for row in mill.lake.read(library_key(first, H1)).to_pylist()
        if row["run"] == first.run_id
    )
    assert section.split("\n")[1:] == [*names, ""]


def test_a_taken_formula_costs_no_evaluation_and_its_variant_is_no_finalist(runs):
    (_, first, _), (mill, spec, _) = runs
    trials = {row["expression"]: row for row in reversed(mill.table(spec, "trials"))}
    same, like = trials[PLANTED], trials[VARIANT]
    assert (same["status"], same["reason"]) == ("duplicate", f"admitted by {first.run_id}")
    assert (like["status"], like["finalist"]) == ("evaluated", False)
    assert like["why_not_finalist"] == f"admitted by {first.run_id} as {PLANTED}"
    assert {row["n_trials"] for row in mill.table(spec, "factors")} <= {
        sum(row["status"] in ("evaluated", "duplicate") for row in mill.table(spec, "trials"))
    }


def test_likeness_to_the_library_is_what_the_values_say(tmp_path):
    _, first, _ = mine(tmp_path, "first", PLANTED)
    mill, spec, _ = mine(tmp_path, "second", "-ts_zscore(close, 96)")
    (row,) = mill.table(spec, "factors")
    reader = SegmentReader(mill.lake, spec.run_id, H1, Segment.VALIDATION)
    ours, theirs = (
        reader.values(read_expression(text))[::8] for text in (row["expression"], PLANTED)
    )
    ic = information_coefficient(ours, theirs)
    assert row["earlier_correlation"] == pytest.approx(np.nanmean(ic), abs=1e-12)
    assert 0.2 < row["earlier_correlation"] < 0.7
    assert (row["earlier_factors"], row["earlier_nearest"], row["earlier_run"]) == (
        1,
        PLANTED,
        first.run_id,
    )
    gate = next(g for g in json.loads(row["gates"]) if g["name"] == "library_correlation")
    assert gate["value"] == row["earlier_correlation"]  # there is no better finalist
    # What the planted formula explains of it is gone from the residual.
    assert 0 <= abs(row["earlier_residual_rank_ic"]) < abs(row["residual_rank_ic"])


def test_a_replay_uses_the_library_of_then(runs, tmp_path):
    _, (mill, spec, _) = runs
    done = replay(PublishedRun.open(mill.lake, spec.run_id), Lake(str(tmp_path)))
    assert (done.equal, done.failed) == (True, ())
    factor = PublishedRun.open(mill.lake, spec.run_id).factors[0]
    assert recheck(factor, RunDeps(mill.lake, spec.run_id, spec)).equal


def test_each_look_of_an_earlier_run_raises_the_hurdle_of_the_next(runs):
    (mill, first, _), (_, second, _) = runs
    shown = len(mill.table(first, "factors"))
    for spec, before in ((first, 0), (second, shown)):
        for row in mill.table(spec, "factors"):
            gate = next(g for g in json.loads(row["gates"]) if g["name"] == "holdout_t")
            assert row["holdout_looks_before"] == before
            expected = norm.isf(norm.sf(EASY.holdout_t) / (1 + before))
            assert gate["threshold"] == pytest.approx(expected, abs=1e-9)
            assert gate["passed"] == (gate["value"] >= gate["threshold"])
    assert shown > 0


def test_without_a_library_the_same_is_found_again(tmp_path):
    search = SearchSettings(library_factors=0)
    mine(tmp_path, "first", PLANTED, search=search)
    mill, spec, chat = mine(tmp_path, "second", PLANTED, search=search)
    assert Grade(grades(mill, spec)[PLANTED]).admitted
    assert not any("## Taken" in prompt for prompt in prompts(chat))


def judged(expression, rank=1):
    factor = read_expression(expression)
    return replace(
        rows.FACTOR, hash=factor.hash, expression=factor.text, verdict=Grade.PREDICTIVE, rank=rank
    )


def admitted(expression):
    return Admission(
        number=0, run="mine-1", hash="", expression=expression, verdict="predictive", rank=1
    )


def spec_of(folder, salt, **search):
    return replace(
        mining(MARKET, Search(), str(folder)), salt=salt, search=SearchSettings(**search)
    )


def test_a_factor_that_is_sold_is_listed_as_it_is_traded(tmp_path):
    lake, spec = Lake(str(tmp_path)), spec_of(tmp_path, "a")
    assert admit(lake, spec, H1, [replace(judged(PLANTED), direction=-1)])
    (entry,) = entries(lake)
    assert (entry.expression, entry.traded) == (PLANTED, PLANTED.removeprefix("-"))
    console = Console(width=200)
    with console.capture() as shown:
        console.print(library_table([entry]))
    assert PLANTED not in shown.get()
    assert entry.traded in shown.get()
    key = library_key(spec, H1)
    lake.write(key, lake.read(key).drop_columns("direction"), {})  # as older code wrote it
    assert [one.traded for one in entries(lake)] == [PLANTED]


def test_what_another_run_admits_meanwhile_is_met_before_this_one_may(tmp_path):
    lake, one, two = Lake(str(tmp_path)), *(spec_of(tmp_path, salt) for salt in "ab")
    assert look_up(lake, one, H1, Moment.END) == look_up(lake, two, H1, Moment.END) == []
    assert admit(lake, two, H1, [judged(PLANTED)])
    assert not admit(lake, one, H1, [judged(VARIANT)])
    (met,) = look_up(lake, one, H1, Moment.END)  # renewed
    assert (met.expression, met.run) == (PLANTED, two.run_id)
    assert admit(lake, one, H1, [judged(OTHER)])
    assert [row["run"] for row in lake.read(library_key(one, H1)).to_pylist()] == [
        two.run_id,
        one.run_id,
    ]


def test_a_variant_admitted_while_this_run_verifies_is_rejected_by_the_gate(tmp_path, monkeypatch):
    """Another run admits between this one's look and its admission."""
    mill, spec, _ = mine(tmp_path, "first", PLANTED)
    assert Grade(grades(mill, spec)[PLANTED]).admitted
    other = replace(spec, salt="other")
    mill.lake.delete(library_key(spec, H1))
    mill.lake.delete(run_key(spec.run_id, "library/interval=1h/end.parquet"))
    judge = verify.judged

    def meanwhile(*args):
        if not mill.lake.exists(library_key(spec, H1)):
            admit(mill.lake, other, H1, [judged(VARIANT)])
        return judge(*args)

    monkeypatch.setattr(verify, "judged", meanwhile)
    assert verify.run(VerifyJob(H1), RunDeps(mill.lake, spec.run_id, spec)).counts["rejected"] == 1
    (row,) = mill.lake.read(
        run_key(spec.run_id, "verdicts/interval=1h/verdicts.parquet")
    ).to_pylist()
    assert "library_correlation" in row["reasons"]
    assert row["earlier_run"] == other.run_id


def test_a_run_judged_anew_leaves_what_it_no_longer_admits_marked(tmp_path):
    """As after a resume: with more trials a factor may be worth less."""
    lake, run, other = Lake(str(tmp_path)), *(spec_of(tmp_path, salt) for salt in "ab")
    first, second = judged(PLANTED), judged(OTHER)
    look_up(lake, run, H1, Moment.END)
    assert admit(lake, run, H1, [first])
    assert admit(lake, run, H1, [first]), "a repeated job"
    assert admit(lake, run, H1, [second])
    rows = lake.read(library_key(run, H1)).to_pylist()
    assert [(row["expression"], row["removed_by"]) for row in rows] == [
        (PLANTED, "alphamill"),
        (OTHER, None),
    ]
    assert [one.expression for one in look_up(lake, other, H1, Moment.START)] == [OTHER]
    assert admit(lake, run, H1, [first, second])
    rows = lake.read(library_key(run, H1)).to_pylist()
    assert [row["number"] for row in rows if row["removed_ms"] is None] == [1, 2]
    assert admit(lake, run, H1, [])
    assert look_up(lake, spec_of(tmp_path, "c"), H1, Moment.START) == []


def test_what_a_person_took_out_stays_out_when_the_run_is_judged_anew(tmp_path):
    lake, run = Lake(str(tmp_path)), spec_of(tmp_path, "a")
    look_up(lake, run, H1, Moment.END)
    assert admit(lake, run, H1, [judged(PLANTED)])
    (entry,) = entries(lake)
    remove(lake, entry, 1, "me", "a fluke")
    assert admit(lake, run, H1, [judged(PLANTED), judged(OTHER)])
    there = [(one.expression, one.removed) for one in entries(lake)]
    assert there == [(PLANTED, True), (OTHER, False)]


def test_many_runs_at_once_are_each_compared_with_all_before_them(tmp_path):
    specs = [spec_of(tmp_path, str(number)) for number in range(8)]

    def work(number, spec):
        lake = Lake(str(tmp_path))
        look_up(lake, spec, H1, Moment.END)
        while not admit(lake, spec, H1, [judged(f"-ts_zscore(close, {10 + number})")]):
            pass

    threads = [threading.Thread(target=work, args=task) for task in enumerate(specs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(work_s())
    lake = Lake(str(tmp_path))
    there = lake.read(library_key(specs[0], H1)).to_pylist()
    assert sorted(row["run"] for row in there) == sorted(spec.run_id for spec in specs)
    for row in there:
        met = recorded(lake, row["run"], H1, Moment.END)
        assert {one.number for one in met} == set(range(row["number"]))


def test_a_worker_killed_after_admission_admits_once_and_judges_as_before(tmp_path):
    mill, spec, _ = mine(tmp_path, "first", PLANTED, OTHER)
    before = {
        key: mill.lake.read_bytes(key)
        for key in mill.lake.list("")
        if "verdicts/" in key or "library" in key
    }
    mill.lake.delete(run_key(spec.run_id, "verdicts/interval=1h/verdicts.parquet"))
    later = replace(spec, salt="later")
    look_up(mill.lake, later, H1, Moment.END)
    admit(mill.lake, later, H1, [judged(VARIANT)])  # the library goes on meanwhile
    verify.run(VerifyJob(H1), RunDeps(mill.lake, spec.run_id, spec))
    for key, data in before.items():
        if key != library_key(spec, H1):
            assert mill.lake.read_bytes(key) == data, key
    runs_there = [row["run"] for row in mill.lake.read(library_key(spec, H1)).to_pylist()]
    assert runs_there.count(spec.run_id) == len(
        [verdict for verdict in grades(mill, spec).values() if Grade(verdict).admitted]
    )


def test_the_newest_come_first_each_once_and_no_more_than_are_asked_for(tmp_path):
    lake = Lake(str(tmp_path))
    texts = [[f"-ts_zscore(close, {n + 10 * run})" for n in range(3, 6)] for run in range(3)]
    texts[2][0] = texts[0][0]  # found by two runs that did not know each other
    for number, own in enumerate(texts):
        spec = spec_of(tmp_path, str(number), library_factors=0)
        look_up(lake, spec, H1, Moment.END)
        assert admit(lake, spec, H1, [judged(text, rank) for rank, text in enumerate(own, 1)])
    told = look_up(lake, spec_of(tmp_path, "reader", library_factors=5), H1, Moment.START)
    assert [one.expression for one in told] == [*texts[2], *texts[1][:2]]


def test_a_bounded_library_does_not_make_a_run_judge_for_ever(tmp_path):
    lake = Lake(str(tmp_path))
    first = spec_of(tmp_path, "first")
    admit(lake, first, H1, [judged(f"-ts_zscore(close, {n})", n) for n in range(3, 9)])
    spec = spec_of(tmp_path, "second", library_factors=2)
    assert len(look_up(lake, spec, H1, Moment.END)) == 2
    assert admit(lake, spec, H1, [judged(OTHER)])


def test_the_library_is_of_one_market_and_interval(tmp_path):
    lake, spec = Lake(str(tmp_path)), spec_of(tmp_path, "a")
    admit(lake, spec, Interval.H4, [judged(PLANTED)])
    assert look_up(lake, spec_of(tmp_path, "b"), H1, Moment.START) == []


def test_what_this_run_cannot_compute_is_left_out(runs):
    _, (mill, spec, _) = runs
    reader = SegmentReader(mill.lake, spec.run_id, H1, Segment.VALIDATION)
    texts = (PLANTED, "rsi_14 - 50", "group_rank(returns, sector)", "no_such(close, 3)")
    known = KnownFactors([admitted(text) for text in texts], reader)
    assert len(known) == 1
    values = reader.values(read_expression(f"-({PLANTED})"))
    (nearest,) = known.nearest_first(values)
    assert nearest.correlation == pytest.approx(-1)


def test_the_prompt_names_few_short_formulas_in_an_order_that_tells_nothing():
    texts = [f"-ts_zscore(close, {100 - n})" for n in range(40)]
    long = "rank(" * 20 + "close" + ")" * 20
    taken = feedback((), [admitted(text) for text in (long, *texts)]).taken
    assert len(taken) == TAKEN_SHOWN
    assert list(taken) == sorted(texts[:TAKEN_SHOWN])


def test_the_library_is_plain_parquet(runs):
    (mill, spec, _), _ = runs
    assert mill.lake.read(library_key(spec, H1)).schema.equals(LIBRARY)


@pytest.fixture
def stocked(tmp_path):
    """A lake whose library holds three admissions, and how to ask about it."""
    lake = Lake(str(tmp_path))
    one, two = (spec_of(tmp_path, salt) for salt in "ab")
    for spec, own in ((one, [judged(PLANTED), judged(OTHER, 2)]), (two, [judged("-returns")])):
        look_up(lake, spec, H1, Moment.END)
        assert admit(lake, spec, H1, own)
    runner = CliRunner(env={"ALPHAMILL_LAKE": lake.uri, "COLUMNS": "80"})

    def ask(*arguments, code=0):
        result = runner.invoke(main, ["library", *arguments], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in arguments else result.output

    return lake, one, ask


def test_what_is_removed_is_told_to_no_later_run_and_stays_on_record(stocked, tmp_path):
    lake, one, ask = stocked
    gone = judged(PLANTED).hash
    before = lake.read(library_key(one, H1)).to_pylist()
    done = ask("remove", gone[:9], "--why", " delisted ", "--by", "ada", "--json")["removed"]
    assert (done["hash"], done["removed_by"], done["removed_why"]) == (gone, "ada", "delisted")
    after = lake.read(library_key(one, H1)).to_pylist()
    kept = [{**row, **dict.fromkeys(("removed_ms", "removed_by", "removed_why"))} for row in after]
    assert kept == before
    later = spec_of(tmp_path, "later")
    told = [one.expression for one in look_up(lake, later, H1, Moment.START)]
    assert sorted(told) == sorted(["-returns", OTHER])
    look_up(lake, later, H1, Moment.END)
    assert admit(lake, later, H1, [judged(PLANTED)]), "it may be found anew"
    assert [row["expression"] for row in ask("list", "--json")["library"]] == [
        OTHER,
        "-returns",
        PLANTED,
    ]
    everything = ask("list", "--removed", "--json")["library"]
    assert [row["removed_by"] for row in everything] == ["ada", None, None, None]
    again = spec_of(tmp_path, "again")
    assert PLANTED in [one.expression for one in look_up(lake, again, H1, Moment.START)]


def test_the_list_shows_who_removed_what_and_when(stocked):
    _, _, ask = stocked
    ask("remove", judged(OTHER).hash, "--why", "[b]too[/b] slow", "--by", "grace")
    plain, full = ask("list"), ask("list", "--removed")
    assert OTHER not in plain
    assert "1 more were removed" in plain
    assert "by grace: [b]too[/b] slow" in full
    assert OTHER in full
    for text in (plain, full):
        assert max(map(len, text.splitlines())) <= 80
    assert ask("list", "--market", "um") != plain
    assert "empty" in ask("list", "--market", "um")


@pytest.mark.parametrize("text", ["zzz", "", "all"])
def test_what_is_not_in_the_library_cannot_be_removed(stocked, text):
    lake, one, ask = stocked
    before = lake.read_bytes(library_key(one, H1))
    shown = ask("remove", text, "--why", "no", code=1)
    assert "fits 0 factors of the library; name one of:" in shown
    assert f"{judged(PLANTED).hash[:12]} (spot 1h)" in shown
    assert lake.read_bytes(library_key(one, H1)) == before


def test_a_removal_needs_a_reason_and_happens_once(stocked):
    _, _, ask = stocked
    gone = judged(PLANTED).hash
    assert "--why" in ask("remove", gone, code=2)
    assert "--why needs a reason" in ask("remove", gone, "--why", "  ", code=2)
    ask("remove", gone, "--why", "once", "--by", "ada")
    assert "by ada: once" in ask("remove", gone, "--why", "twice", code=1)


def test_two_removals_at_once_leave_one_record(stocked):
    lake, _, _ = stocked
    (entry, *_) = entries(lake)
    remove(lake, entry, 1, "ada", "first")
    with pytest.raises(GiveUp, match="no longer in the library"):
        remove(lake, entry, 2, "grace", "second")
    assert entries(lake)[0].removed_by == "ada"


def test_a_removed_formula_is_mined_and_admitted_again(tmp_path):
    mill, first, _ = mine(tmp_path, "first", PLANTED)
    (entry,) = entries(mill.lake)
    remove(mill.lake, entry, 1, "ada", "to be found anew")
    mill, second, chat = mine(tmp_path, "second", PLANTED)
    assert not any("## Taken" in prompt for prompt in prompts(chat))
    assert Grade(grades(mill, second)[PLANTED]).admitted
    assert [one.removed for one in entries(mill.lake)] == [True, False]
    factor = PublishedRun.open(mill.lake, first.run_id).factors[0]
    assert recheck(factor, RunDeps(mill.lake, first.run_id, first)).equal  # what was is replayed
