"""The offline model's endpoint in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import tornado.httpserver
import tornado.netutil

from alphamill.sim.llm.server import Endpoint, LLMConfig, application
from tests.deadlines import ANSWER_S


@contextmanager
def serving(config: LLMConfig) -> Iterator[str]:
    """The simulator's base URL, served from a thread."""
    started, url = threading.Event(), []
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()

    async def serve() -> None:
        sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
        server = tornado.httpserver.HTTPServer(application(Endpoint(config)))
        server.add_sockets(sockets)
        url.append(f"http://127.0.0.1:{sockets[0].getsockname()[1]}/v1")
        started.set()
        await stopping.wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(ANSWER_S)
    try:
        yield url[0]
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()
