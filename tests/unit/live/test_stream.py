"""A row is in the stream once, whatever was lost; a POST is signed, waits, and is given up."""

import hashlib
import hmac
import json
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fakeredis
import pytest

from alphamill.errors import RetryLater
from alphamill.lake import Lake
from alphamill.live import Journal
from alphamill.live import webhook as webhooks
from alphamill.live.stream import SignalStream
from alphamill.live.webhook import SIGNATURE, TIMESTAMP, Courier, Webhook
from tests.deadlines import ANSWER_S, wait_for
from tests.unit.live.test_journal import LIVE, START, signal


@pytest.fixture
def client():
    return fakeredis.FakeRedis()


@pytest.fixture
def journal(tmp_path):
    return Journal(Lake(str(tmp_path / "lake")), LIVE, START)


def entries(client):
    return [
        (entry.decode(), json.loads(fields[b"payload"])["seq"])
        for entry, fields in client.xrange(f"alphamill:live:{LIVE}:signals")
    ]


def test_rows_are_entries_with_their_number(client, journal):
    stream = SignalStream(client, LIVE)
    links = journal.append([signal(0), signal(0, "e" * 16)])
    assert stream.push(links)
    assert stream.push(links)  # again: nothing twice
    assert entries(client) == [("1-0", 0), ("2-0", 1)]
    [(_, fields), *_] = client.xrange(stream.key)
    assert hashlib.sha256(fields[b"payload"]).hexdigest().encode() == fields[b"hash"]


def test_a_hole_is_not_made_and_is_filled_from_the_lake(client, journal):
    stream = SignalStream(client, LIVE)
    stream.push(journal.append([signal(0)]))
    journal.append([signal(1)])  # its push was lost
    assert not stream.push(journal.append([signal(2)]))
    assert stream.rows() == 1
    assert stream.catch_up(journal) == 2
    assert [seq for _, seq in entries(client)] == [0, 1, 2]
    assert stream.catch_up(journal) == 0


def test_a_stream_that_was_lost_is_filled_anew(client, journal):
    stream = SignalStream(client, LIVE)
    for number in range(5):
        stream.push(journal.append([signal(number)]))
    client.flushall()
    assert not stream.push(journal.append([signal(5)]))
    assert stream.catch_up(journal) == 6
    assert entries(client)[-1] == ("6-0", 5)


def test_a_stream_that_was_lost_is_filled_with_what_it_keeps(client, journal):
    stream = SignalStream(client, LIVE, kept=2)
    for number in range(5):
        journal.append([signal(number)])
    assert stream.catch_up(journal) == 2
    assert entries(client) == [("4-0", 3), ("5-0", 4)]


def test_two_that_push_the_same_and_older_rows(client, journal):
    one, two = SignalStream(client, LIVE), SignalStream(client, LIVE)
    first, second = journal.append([signal(0)]), journal.append([signal(1)])
    one.push(first)
    two.push([*first, *second])
    assert one.push(second)
    assert one.push(first)
    assert [seq for _, seq in entries(client)] == [0, 1]


def test_redis_gone(journal):
    server = fakeredis.FakeServer()
    stream = SignalStream(fakeredis.FakeRedis(server=server), LIVE)
    links = journal.append([signal(0)])
    server.connected = False
    with pytest.raises(RetryLater, match="cannot be streamed"):
        stream.push(links)
    server.connected = True
    assert stream.catch_up(journal) == 1


class Receiver:
    """A webhook's other end on loopback: answers with `codes` in turn, then 204."""

    def __init__(self):
        self.got, self.codes = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((dict(self.headers), body))
                code = outer.codes.pop(0) if outer.codes else 204
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "http://127.0.0.1:9/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    @property
    def seqs(self):
        return [
            json.loads(row["payload"])["seq"]
            for _, body in self.got
            for row in json.loads(body)["rows"]
        ]


@pytest.fixture
def receiver(monkeypatch):
    made = Receiver()
    monkeypatch.setattr(webhooks, "_FIRST_PAUSE_S", 0.0)
    yield made
    made.server.shutdown()
    made.server.server_close()


def hook(client, receiver, *, signed=True):
    return Webhook(client, LIVE, receiver.url, "s3cret" if signed else "")


def test_rows_are_posted_in_order_and_signed(client, journal, receiver):
    journal.append([signal(0), signal(0, "e" * 16)])
    posts = hook(client, receiver)
    assert posts.deliver(journal, 1_700_000_000_123) == 2
    assert posts.deliver(journal, 1_700_000_000_200) == 0
    journal.append([signal(1)])
    assert hook(client, receiver).deliver(journal, 1_700_000_001_000) == 1  # a successor
    assert receiver.seqs == [0, 1, 2]
    headers, body = receiver.got[0]
    assert headers[TIMESTAMP] == "1700000000"
    expected = hmac.new(b"s3cret", b"1700000000." + body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"sha256={expected}"


def test_without_a_secret_nothing_is_signed(client, journal, receiver):
    journal.append([signal(0)])
    hook(client, receiver, signed=False).deliver(journal, 1)
    assert SIGNATURE not in receiver.got[0][0]


@pytest.mark.parametrize("code", [500, 503, 429, 408])
def test_what_may_pass_is_tried_again(client, journal, receiver, code):
    receiver.codes = [code, code]
    journal.append([signal(0)])
    posts = hook(client, receiver)
    assert [posts.deliver(journal, 1) for _ in range(3)] == [0, 0, 1]
    assert posts.dead_letters() == []


@pytest.mark.parametrize("code", [400, 401, 404, 302])
def test_what_is_refused_for_good_is_a_dead_letter_and_the_rest_goes_on(
    client, journal, receiver, code
):
    receiver.codes = [code]
    journal.append([signal(0)])
    posts = hook(client, receiver)
    assert posts.deliver(journal, 77) == 0
    [letter] = posts.dead_letters()
    assert (letter.first, letter.last, letter.reason, letter.at_ms) == (0, 0, f"HTTP {code}", 77)
    journal.append([signal(1)])
    assert posts.deliver(journal, 78) == 1
    assert receiver.seqs == [0, 1]


def test_a_receiver_that_is_gone_is_asked_no_more_and_its_rows_wait(client, journal, receiver):
    receiver.codes = [410]
    journal.append([signal(0)])
    posts = hook(client, receiver)
    journal.append([signal(1)])
    assert [posts.deliver(journal, 1) for _ in range(3)] == [0, 0, 0]
    assert len(receiver.got) == 1
    assert "gone (HTTP 410): rows from 0 on wait in the lake" in posts.problem
    assert posts.dead_letters() == []
    assert hook(client, receiver).deliver(journal, 2) == 2  # another address, or begun anew
    assert receiver.seqs == [0, 1, 0, 1]


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 "])
def test_an_answer_that_trickles_holds_nobody(client, journal, monkeypatch, head):
    monkeypatch.setattr(webhooks, "_WHOLE_S", 0.2)
    monkeypatch.setattr(webhooks, "_TRIES", 1)
    journal.append([signal(0)])
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle():
            there, _ = server.accept()
            with there, suppress(OSError):
                there.sendall(head)
                while not over.wait(0.01):  # far more often than any time-out of a packet
                    there.sendall(b"h")

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        posts = Webhook(client, LIVE, f"http://127.0.0.1:{server.getsockname()[1]}/", "s")
        assert posts.deliver(journal, 1) == 0
        over.set()
        thread.join(ANSWER_S)
    assert [letter.reason for letter in posts.dead_letters()] == ["ConnectionError"]


def test_who_never_answers_is_given_up_in_the_end(client, journal, receiver):
    receiver.codes = [503] * 8
    journal.append([signal(0)])
    posts = hook(client, receiver)
    for _ in range(8):
        posts.deliver(journal, 1)
    assert [letter.reason for letter in posts.dead_letters()] == ["HTTP 503"]


def test_nobody_there_and_no_secret_in_the_reason(client, journal, monkeypatch):
    monkeypatch.setattr(webhooks, "_TRIES", 1)
    journal.append([signal(0)])
    posts = Webhook(client, LIVE, "http://user:hidden@127.0.0.1:9/hook", "s")
    posts.deliver(journal, 1)
    [letter] = posts.dead_letters()
    assert letter.reason == "ConnectionError"


def test_between_tries_there_is_a_pause(client, journal, receiver, monkeypatch):
    monkeypatch.setattr(webhooks, "_FIRST_PAUSE_S", 60.0)
    receiver.codes = [503]
    journal.append([signal(0)])
    posts = hook(client, receiver)
    assert [posts.deliver(journal, 1), posts.deliver(journal, 1)] == [0, 0]
    assert len(receiver.got) == 1


def test_a_new_webhook_begins_where_it_is_told_to(client, journal, receiver):
    journal.append([signal(0)])
    posts = hook(client, receiver)
    posts.begin(journal, journal.head.rows)
    journal.append([signal(1)])
    posts.deliver(journal, 1)
    posts.begin(journal, 0)  # known already
    posts.deliver(journal, 1)
    assert receiver.seqs == [1]


def test_a_courier_of_a_new_webhook_leaves_out_what_was_said_before(client, journal, receiver):
    journal.append([signal(0)])
    said = journal.head.rows
    journal.append([signal(1)])
    courier = Courier(hook(client, receiver), journal, lambda: 1, said)
    wait_for(lambda: receiver.got, "a delivery", lambda: courier.problem, within_s=ANSWER_S)
    courier.close()
    assert receiver.seqs == [1]


def test_a_webhooks_place_outlasts_redis(client, journal, receiver):
    journal.append([signal(0)])
    posts = hook(client, receiver)
    posts.deliver(journal, 1)
    client.flushall()
    journal.append([signal(1)])
    posts.deliver(journal, 2)
    client.flushall()
    journal.append([signal(2)])
    hook(client, receiver).deliver(journal, 3)  # a successor
    assert receiver.seqs == [0, 1, 2]


def test_rows_are_posted_while_redis_is_gone(journal, receiver):
    server = fakeredis.FakeServer()
    server.connected = False
    journal.append([signal(0)])
    assert hook(fakeredis.FakeRedis(server=server), receiver).deliver(journal, 1) == 1
    assert receiver.seqs == [0]


def test_a_courier_that_is_to_finish_delivers_what_is_left_and_ends(client, journal, receiver):
    receiver.codes = [503]
    for number in range(3):
        journal.append([signal(number)])
    courier = Courier(hook(client, receiver), journal, lambda: 1)
    courier.finish()
    courier._thread.join(ANSWER_S)
    assert not courier._thread.is_alive()
    assert receiver.seqs[-3:] == [0, 1, 2]


def test_what_redis_lost_is_seen(client, journal):
    stream = SignalStream(client, LIVE)
    assert not stream.lacks(journal)
    for number in range(3):
        stream.push(journal.append([signal(number)]))
    assert not stream.lacks(journal)
    kept = client.xrange(stream.key)[:2]
    client.flushall()
    for name, fields in kept:  # its last write is gone
        client.xadd(stream.key, fields, id=name)
    assert stream.lacks(journal)
    assert stream.catch_up(journal) == 1
    client.flushall()
    assert stream.lacks(journal)
    assert stream.catch_up(journal) == 3
    assert [seq for _, seq in entries(client)] == [0, 1, 2]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_rows_of_another_lake_make_room(client, journal, tmp_path, rows):
    other = Journal(Lake(str(tmp_path / "other")), LIVE, START)
    for number in range(rows):
        other.append([signal(number, values=(9.0, 9.0))])
    stream = SignalStream(client, LIVE)
    stream.catch_up(other)
    for number in range(2):
        journal.append([signal(number)])
    assert stream.lacks(journal)
    assert stream.catch_up(journal) == 2
    payloads = [fields[b"payload"].decode() for _, fields in client.xrange(stream.key)]
    assert payloads == [link.payload for link in journal.read()]


def test_two_that_deliver_at_once_do_not_post_everything_twice(client, journal, receiver):
    one, two = hook(client, receiver), hook(client, receiver)
    for number in range(4):
        journal.append([signal(number)])
        (one if number % 2 else two).deliver(journal, 1)
    assert receiver.seqs == [0, 1, 2, 3]
