"""The connections of streams as real sockets, on one event loop, by tornado."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClientConnection, WebSocketError, websocket_connect

from alphamill.errors import Misconfigured
from alphamill.market.stream.connection import Action, Open, Send
from alphamill.market.stream.streams import Event, KlineStreams
from alphamill.market.stream.venue import STREAM_VENUES

_LONGEST_WAIT_S = 1.0  # clocks may be set meanwhile


class StreamClient:
    """Keeps the connections of `streams` and tells `heard` each event, in order, on its loop.

    `heard` must be quick: while it runs nothing is read, and pings are not answered.
    """

    def __init__(self, streams: KlineStreams, heard: Callable[[Event], None]) -> None:
        self._streams = streams
        self._heard = heard
        self._wake = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._sockets: dict[int, WebSocketClientConnection] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises what `heard` raises, and Misconfigured for a bad address."""
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                for action in self._streams.actions():
                    self._do(action)
                self._tell(self._streams.due())
                await self._pause(stopped)
                self._raise_faults()
        finally:
            stopped.cancel()
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pause(self, stopped: asyncio.Task[bool]) -> None:
        """Until something is due or has happened."""
        woken = asyncio.create_task(self._wake.wait())
        wait_s = min(_LONGEST_WAIT_S, self._streams.next_s())
        tasks = {woken, stopped, *self._tasks.values()}
        await asyncio.wait(tasks, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        woken.cancel()
        self._wake.clear()

    def _raise_faults(self) -> None:
        for number, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[number]
                if not task.cancelled():
                    task.result()

    def _do(self, action: Action) -> None:
        number = action.connection
        if isinstance(action, Open):
            self._tasks[number] = asyncio.create_task(self._attend(number, action.url))
        elif isinstance(action, Send):
            if socket := self._sockets.get(number):
                # Of a connection that has ended meanwhile, reading tells.
                with contextlib.suppress(WebSocketError):
                    socket.write_message(action.text).add_done_callback(_forget)
        elif task := self._tasks.get(number):
            task.cancel()

    async def _attend(self, number: int, url: str) -> None:
        """One connection, from the handshake to its end."""
        why, wait_s = "", 0.0
        try:
            socket = await _connect(url)
            self._sockets[number] = socket
            try:
                why = await self._read(number, socket)
            finally:
                del self._sockets[number]
                _close(socket)
        except HTTPClientError as error:
            why, wait_s = _refusal(error)
        except (OSError, WebSocketError) as error:
            why = str(error) or type(error).__name__
        except ValueError as error:
            variable = STREAM_VENUES[self._streams.market].variable
            problem = f"{self._streams.base} is no address of a websocket ({error})"
            raise Misconfigured(variable, problem, "give wss:// and a host alone") from error
        self._streams.lost(number, why, wait_s)
        self._wake.set()

    async def _read(self, number: int, socket: WebSocketClientConnection) -> str:
        """Tell of what comes until the connection ends; why it ended."""
        self._streams.opened(number)
        self._wake.set()
        while (text := await socket.read_message()) is not None:
            self._tell(self._streams.received(number, text))
            if self._streams.next_s() <= 0:
                self._wake.set()
        if socket.close_code is None:
            return "cut without a word"
        return f"closed by the server ({socket.close_code} {socket.close_reason or ''})".strip()

    def _tell(self, events: Iterator[Event]) -> None:
        for event in events:
            self._heard(event)


async def _connect(url: str) -> WebSocketClientConnection:
    """The opened connection; one that is given up meanwhile is closed when it opens."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError("it has no host, or begins neither with ws:// nor with wss://")
    _ = parts.port  # ValueError for one that there is not
    opening = asyncio.ensure_future(websocket_connect(url))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_late)
        raise


def _close(socket: WebSocketClientConnection) -> None:
    """Say so, and do not wait for the answer."""
    stream = socket.protocol.stream if socket.protocol else None
    socket.close()
    if stream is not None:
        stream.close()


def _forget(sent: asyncio.Future[None]) -> None:
    if not sent.cancelled():
        sent.exception()


def _close_late(opening: asyncio.Future[WebSocketClientConnection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        _close(opening.result())


def _refusal(error: HTTPClientError) -> tuple[str, float]:
    """What a handshake that was refused says, and how long to wait."""
    asked = error.response.headers.get("Retry-After", "") if error.response else ""
    return f"refused with HTTP {error.code}", float(asked) if asked.isdigit() else 0.0
