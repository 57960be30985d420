"""What `doctor`, `live list` and `live status` say of lives and of who follows them."""

import json

import fakeredis
import pytest
from click.testing import CliRunner

from alphamill.lake import Lake
from alphamill.ledger.presence import Presence, Worker
from alphamill.live import Journal
from alphamill.live.checked import summary_key
from alphamill.live.condition import Condition, Problem
from alphamill.live.followers import Followers, letters_key
from alphamill.live.register import Register
from alphamill.live.waited import Waited, keep_waited
from alphamill.settings import Settings
from producers.check import lives
from producers.live import live
from tests.unit.live.test_condition import letter_text, live_state
from tests.unit.live.test_journal import SPEC, START, signal


def lives_told(settings, monkeypatch, *pools, conditions=()):
    """What doctor says of lives beside workers of these pools and what followers told."""
    client = fakeredis.FakeRedis()
    monkeypatch.setattr(lives, "quick_client", lambda *_: client)
    for pool in pools:
        Presence(client).announce(Worker(f"{pool}-1@host", pool, (), 1, 1))
    for number, condition in enumerate(conditions):
        Followers(client).tell(f"spot:{number}", condition)
    return list(lives.lives_checks(settings))


def test_a_live_that_nobody_follows_is_told(tmp_path, monkeypatch):
    settings = Settings(lake=str(tmp_path))
    lake = Lake(settings.lake_uri)
    assert lives_told(settings, monkeypatch, "fetch") == []
    Register(lake).start(SPEC, 5)
    (unfollowed,) = lives_told(settings, monkeypatch, "fetch")
    assert unfollowed.state == "fail"
    assert "nobody follows 1 live" in unfollowed.detail
    assert "alphamill worker stream" in unfollowed.cure
    here, waits = lives_told(settings, monkeypatch, "stream")
    assert (here.state, waits.state) == ("ok", "warn")
    assert "nobody follows it" in waits.detail
    lake.write_bytes("lives/live-0.json", b"{")
    damaged, *_ = lives_told(settings, monkeypatch, "stream")
    assert damaged.state == "warn"
    assert "lives/live-0.json" in damaged.detail
    Register(lake).stop(SPEC.id, 9)
    assert [one.state for one in lives_told(settings, monkeypatch)] == ["warn"]


def test_what_is_the_matter_with_a_live_is_told_with_its_cure(tmp_path, monkeypatch):
    settings = Settings(lake=str(tmp_path))
    Register(Lake(settings.lake_uri)).start(SPEC, 5)
    good = Condition("spot", "host:1", 9, 0, (live_state(),))
    assert [c.state for c in lives_told(settings, monkeypatch, "stream", conditions=[good])] == [
        "ok"
    ]
    rest = Problem.named("rest", "banned until 12:00; wait", 7)
    told = Condition("spot", "host:1", 9, 0, (live_state(unexplained=2),), (rest,))
    _, banned, differs = lives_told(settings, monkeypatch, "stream", conditions=[told])
    assert (banned.state, differs.state) == ("warn", "fail")
    assert "banned until 12:00 (since 1970-01-01" in banned.detail
    assert banned.cure == "wait"
    assert "2 values differ from batch for no known reason" in differs.detail
    other = Condition("um", "host:2", 9, 0, (), (rest,))  # of another market
    found = lives_told(settings, monkeypatch, "stream", conditions=[good, other])
    assert [check.state for check in found] == ["ok"]


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """`shown(*words, conditions=, letters=)`: what `alphamill live` prints."""
    lake = Lake(str(tmp_path / "lake"))
    Register(lake).start(SPEC, START)
    Journal(lake, SPEC.id, START).append([signal(0, live=SPEC.id)])
    monkeypatch.setenv("ALPHAMILL_LAKE", lake.uri)
    client = fakeredis.FakeRedis()
    monkeypatch.setattr("alphamill.redis_store.connect", lambda _: client)

    def show(*words, conditions=(), letters=()):
        for number, condition in enumerate(conditions):
            Followers(client).tell(f"spot:{number}", condition)
        for text in letters:
            client.lpush(letters_key(SPEC.id), text)
        done = CliRunner(env={"COLUMNS": "160"}).invoke(live, words)
        assert done.exit_code == 0, done.output
        return done.output

    return show


def test_nobody_follows_until_somebody_says_so(shown):
    assert json.loads(shown("list", "--json"))[0]["state"] == "not followed"
    assert "nobody follows it" in shown("status")
    told = Condition("spot", "host:1", START, 0, (live_state(),))
    text = shown("status", conditions=[told])
    assert "followed by host:1, next bar closes 2024-10-04 00:02 UTC" in text
    assert "!" not in text
    (one,) = json.loads(shown("list", "--json"))
    assert (one["state"], one["by"], one["problems"]) == ("followed", "host:1", [])


def test_problems_dead_letters_and_idle_symbols_are_shown_with_a_cure(shown):
    said = Problem.named(SPEC.id, "ALPHAMILL_LAKE: cannot write: No space left; free space", START)
    state = live_state(idle={"LUNAUSDT": "BREAK"}, waiting=3)
    told = Condition("spot", "host:1", START, 0, (state,), (said,))
    text = shown("status", conditions=[told], letters=[letter_text(4, 4), letter_text(5, 9)])
    assert "No space left (since 2024-10-04 00:00 UTC) -> free space" in " ".join(text.split())
    assert "not traded: LUNAUSDT (BREAK)" in text
    assert "2 dead letters of the webhook" in text
    assert "rows 5 to 9 not taken (HTTP 404)" in text
    found = json.loads(shown("status", "--json"))
    assert found["problems"] == [
        {
            "of": SPEC.id,
            "text": "ALPHAMILL_LAKE: cannot write: No space left",
            "cure": "free space",
            "since_ms": START,
        }
    ]
    assert (found["waiting"], found["dead_letters"]) == (3, 2)
    assert found["dead_letter"]["first"] == 5
    assert found["not_traded"] == {"LUNAUSDT": "BREAK"}
    assert "No space left" in shown("list")


def test_the_newest_parity_result_is_shown(shown, tmp_path):
    assert json.loads(shown("status", "--json"))["parity"] is None
    lake = Lake(str(tmp_path / "lake"))
    counts = {"equal": 19_998, "late": 2, "absent": 0, "corrected": 0, "unexplained": 0}
    summary = {"rows": 5, "counts": counts, "next_seq": 5, "at_ms": START}
    lake.write_bytes(summary_key(SPEC.id), json.dumps(summary).encode())
    assert json.loads(shown("status", "--json"))["parity"]["counts"] == counts
    text = shown("status")
    assert "99.990 % of 20,000 values equal to batch to the bit, 2 differ for a named bar" in text
    assert "0 for no known reason; checked 2024-10-04 00:00 UTC" in text


def test_the_price_of_waiting_is_shown(shown, tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    assert json.loads(shown("status", "--json"))["waiting_price"] == []
    assert "moved" not in shown("status")
    rows = [
        Waited(START, factor, after_ms, 4, 3, True, 1, 0.125, 0.25)
        for factor in ("f" * 16, "e" * 16)
        for after_ms in (200, 2_000)
    ]
    keep_waited(lake, SPEC.id, 0, rows)
    prices = json.loads(shown("status", "--json"))["waiting_price"]
    assert [(one["factor"][:1], one["after_ms"]) for one in prices] == [
        (factor, after_ms) for factor in ("", "f", "e") for after_ms in (200, 2_000)
    ]
    assert prices[0]["absent_frac"] == 0.25
    lines = [line.split() for line in shown("status").splitlines() if line.startswith("0.2 s")]
    figures = ["25.0", "%", "0", "33.3", "%", "0.125", "0.125", "25.0", "%", "25.0", "%"]
    assert [line[-11:] for line in lines] == [figures] * 3


def test_one_row_holds(shown):
    assert shown("verify").startswith("1 row holds, head ")


def test_without_redis_what_the_lake_has_is_shown(shown, monkeypatch):
    from alphamill.errors import Misconfigured

    def away(_):
        raise Misconfigured("ALPHAMILL_REDIS_URL", "nobody answers there", "alphamill up")

    monkeypatch.setattr("alphamill.redis_store.connect", away)
    done = CliRunner().invoke(live, ["list", "--json"])
    assert "who follows is not known: nobody answers there; alphamill up" in done.stderr
    assert json.loads(done.stdout)[0]["state"] == "unknown"
