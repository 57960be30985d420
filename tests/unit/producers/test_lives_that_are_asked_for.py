"""What `live start` refuses before anything is written, and what `signals --follow` prints."""

import json

import click
import fakeredis
import pytest

from alphamill.frames import Market
from alphamill.lake import Lake
from alphamill.live import Entry, Journal
from alphamill.live.stream import SignalStream
from alphamill.market.universe import Listing
from alphamill.settings import Settings
from producers import live
from producers.read import live as read_live
from producers.submit import listing
from tests.unit.live.test_journal import LIVE, SPEC, START, signal


@pytest.mark.parametrize(
    "url", ["ftp://host/", "http://", "https:///rows", "http://host:port/", "http://[::1/rows"]
)
def test_a_webhook_without_a_host_is_no_address(url):
    with pytest.raises(click.UsageError, match="--webhook"):
        live._check_followable(Settings(), SPEC, url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/rows", "https://rows.example", "http://[::1]"])
def test_a_webhook_is_a_host_with_or_without_a_port(url):
    assert live._is_address(url)


def test_unlisted_is_told_to_those_who_can_give_it(monkeypatch):
    monkeypatch.setattr(listing, "exchange_listing", lambda *_, **__: Listing({}, {}))
    for told, hint in ((True, {}), (False, {"hint": ""})):
        with pytest.raises(click.UsageError, match="does not list NOPEUSDT") as caught:
            listing.check_listed(Settings(), Market.SPOT, ["NOPEUSDT"], None, **hint)
        assert ("--unlisted" in caught.value.message) is told


def test_rows_that_redis_no_longer_has_are_followed_from_the_lake(monkeypatch, tmp_path):
    client = fakeredis.FakeRedis()
    monkeypatch.setattr("alphamill.redis_store.patient_client", lambda _: client)
    journal = Journal(Lake(str(tmp_path)), LIVE, START)
    journal.append([signal(0)])
    entry = Entry(SPEC, START)
    lines = read_live._followed(Settings(), entry, Journal(Lake(str(tmp_path)), LIVE, START), 0)
    seen = [next(lines)]
    links = journal.append([signal(number) for number in (1, 2, 3)])
    for link in links[-1:]:
        key = SignalStream(client, entry.id).key
        client.xadd(key, {"payload": link.payload, "hash": link.hash}, id=f"{link.row.seq + 1}-0")
    seen += [next(lines) for _ in links]
    assert [json.loads(line)["seq"] for line in seen] == [0, 1, 2, 3]
