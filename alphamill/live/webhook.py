"""The rows of a live, posted: in order, each at least once, signed.

A POST is `{"live": ID, "rows": [{"payload": "...", "hash": "..."}, ...]}`: rows of one release, or
of several that waited. `X-Alphamill-Timestamp` is UTC epoch seconds and `X-Alphamill-Signature` is
`sha256=` and the hex HMAC-SHA256, by the secret, of the timestamp, a full stop and the body. Who
receives a row twice knows it by its `seq`. What is refused for good, or for too long, is a dead
letter: named, and the next rows go on. A receiver that answers 410 is gone: it is asked no more
until the live is started with another address, or followed anew; rows wait in the lake till then.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import redis
import requests

from alphamill.errors import AlphamillError
from alphamill.live.condition import DeadLetter
from alphamill.live.followers import KEPT_LETTERS, letter_of, letters_key
from alphamill.live.journal import Journal
from alphamill.live.post_session import bounded_session
from alphamill.live.signals import Link
from alphamill.redis_store import as_text, reached

SIGNATURE, TIMESTAMP = "X-Alphamill-Signature", "X-Alphamill-Timestamp"
_ROWS = 200  # of one POST
_TRIES = 8
_LOOK_S = 1.0  # between two looks for rows when nobody wakes it
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_TIMEOUT_S = (5.0, 10.0)  # to connect, between two packets
_WHOLE_S = 20.0  # of one POST, however slowly an answer trickles in
_GONE = 410
_AGAIN = frozenset({408, 425, 429})  # client errors that may pass
_UNREACHED = "deliveries cannot be noted"


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What `X-Alphamill-Signature` must be."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


class Webhook:
    """Posts the rows of one live to `url`. Raises RetryLater when Redis cannot be reached.

    secret: signs; "" for none, and then nothing is signed. The place in the chain is kept in the
    lake: a follower that takes over goes on there, and rows go out while Redis is gone.
    """

    def __init__(
        self, client: redis.Redis, live: str, url: str, secret: str, prefix: str = "alphamill"
    ) -> None:
        self._redis = client
        self._live, self._url, self._secret = live, url, secret
        self._dead = letters_key(live, prefix)
        self._session = bounded_session(_WHOLE_S)
        self._gone = False
        self.problem = ""  # of the last try
        self._tries = 0
        self._due_s = 0.0
        self._place: int | None = None

    def begin(self, journal: Journal, rows: int) -> None:
        """Deliver from that row on, unless a place is known."""
        if journal.delivered() is None:
            journal.note_delivered(rows)

    def left(self, journal: Journal) -> bool:
        """Whether it has rows to deliver yet."""
        return not self._gone and (journal.delivered() or 0) < journal.reload().rows

    def deliver(self, journal: Journal, now_ms: int) -> int:
        """Post what is due, at most one POST: how many rows were taken. Waits between tries."""
        if self._gone or time.monotonic() < self._due_s:
            return 0
        self._place = max(self._place or 0, journal.delivered() or 0)  # another may be further
        links = []
        for link in journal.read(self._place):
            links.append(link)
            if len(links) == _ROWS:
                break
        if not links:
            return 0
        reason, again = self._post(links, now_ms)
        if self._gone:
            self.problem = (
                f"the webhook is gone ({reason}): rows from {self._place} on wait in the lake; "
                "give another: alphamill live start ... --webhook URL, or stop the live and start "
                "it"
            )
            return 0
        self.problem = reason and f"the webhook does not take rows: {reason}"
        if not reason:
            self._moved(journal, links)
            return len(links)
        self._tries += 1
        if again and self._tries < _TRIES:
            pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (self._tries - 1))
            self._due_s = time.monotonic() + pause_s
        else:
            self._bury(DeadLetter(links[0].row.seq, links[-1].row.seq, reason, now_ms))
            self._moved(journal, links)
        return 0

    def dead_letters(self) -> list[DeadLetter]:
        """What was not taken, the newest first."""
        with reached(_UNREACHED):
            found = self._redis.lrange(self._dead, 0, -1)
        return [letter_of(as_text(one)) for one in found]

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

    def _bury(self, letter: DeadLetter) -> None:
        with reached(_UNREACHED), self._redis.pipeline() as pipe:
            pipe.lpush(self._dead, json.dumps(asdict(letter)))
            pipe.ltrim(self._dead, 0, KEPT_LETTERS - 1)
            pipe.execute()

    def _moved(self, journal: Journal, links: Sequence[Link]) -> None:
        self._place = links[-1].row.seq + 1
        self._tries, self._due_s = 0, 0.0
        journal.note_delivered(self._place)

    def _post(self, links: Sequence[Link], now_ms: int) -> tuple[str, bool]:
        """Why it was not taken, "" if it was; and whether another try may help."""
        rows = [{"payload": link.payload, "hash": link.hash} for link in links]
        body = json.dumps({"live": self._live, "rows": rows}).encode()
        stamp = str(now_ms // 1000)
        headers = {"Content-Type": "application/json", TIMESTAMP: stamp}
        if self._secret:
            headers[SIGNATURE] = signature(self._secret, stamp, body)
        try:
            with self._session.post(
                self._url,
                data=body,
                headers=headers,
                timeout=_TIMEOUT_S,
                allow_redirects=False,
                stream=True,  # whatever the answer holds is not read
            ) as answer:
                code = answer.status_code
        except requests.RequestException as error:
            return type(error).__name__, True  # its text may hold the URL
        self._gone = code == _GONE
        if 200 <= code < 300:
            return "", False
        return f"HTTP {code}", code >= 500 or code in _AGAIN


class Courier:
    """Delivers in a thread of its own: whoever hangs holds up no release.

    first: the row to begin with where nothing was delivered yet.
    """

    def __init__(
        self, webhook: Webhook, journal: Journal, now_ms: Callable[[], int], first: int = 0
    ) -> None:
        self.problem = ""
        self._first = first
        self._webhook, self._journal, self._now_ms = webhook, journal, now_ms
        self._woken = threading.Event()
        self._closed = self._ending = False
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There are new rows."""
        self._woken.set()

    def finish(self) -> None:
        """Deliver what is left, and then no more."""
        self._ending = True
        self._woken.set()

    def close(self) -> None:
        """Deliver no more; what is under way ends by itself."""
        self._closed = True
        self._woken.set()

    def _work(self) -> None:
        begun = False
        while not self._closed:
            try:
                if not begun:
                    self._webhook.begin(self._journal, self._first)
                    begun = True
                delivered = self._webhook.deliver(self._journal, self._now_ms())
                self.problem = self._webhook.problem
                if self._ending and not delivered and not self._webhook.left(self._journal):
                    break
            except AlphamillError as error:
                delivered, self.problem = 0, str(error)
            if not delivered:
                self._woken.wait(_LOOK_S)
                self._woken.clear()
        self._webhook.close()
