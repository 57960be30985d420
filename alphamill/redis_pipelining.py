"""Auto-pipelining: a Redis client that sends the commands of many threads in one round trip.

A command that comes while a round trip is under way waits for the next one; one of the threads that
wait sends all that has gathered in one go and hands out the replies. A command alone costs what it
always did; fifty at once cost a few round trips and not fifty. Order holds within a thread, as with
one connection each. Commands whose reply nobody needs can ride behind another (`after_next`).

Round trips go over one connection that is kept: redis-py's checkout, retry and metrics around every
command cost several times what packing and reading it does. When it breaks, the round trip is made
once more by redis-py's own way, whose retries a lone command would have met too.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, cast

import hiredis
import redis
from redis.commands.core import Script

# What stays out: commands that block, that change the connection, or whose reply has no one shape.
_PIPELINED = frozenset({"EVALSHA", "HGET", "HGETALL", "HMGET"})

_Command = tuple[tuple[Any, ...], dict[str, Any]]

log = logging.getLogger(__name__)


class _Pending:
    """A command, those that ride behind it, and its reply.

    wake: held until its thread has something to do: read the reply, or lead a round trip.
    """

    __slots__ = ("args", "leads", "options", "piggybacked", "replied", "reply", "wake")

    def __init__(
        self, args: tuple[Any, ...], options: dict[str, Any], piggybacked: list[_Command]
    ) -> None:
        self.args = args
        self.options = options
        self.piggybacked = piggybacked
        self.reply: Any = None
        self.replied = False
        self.leads = False  # its thread makes the next round trip
        self.wake = threading.Lock()
        self.wake.acquire()


class _ThreadState(threading.local):
    """What rides behind a thread's next command."""

    def __init__(self) -> None:
        self.piggybacked: list[_Command] = []
        self.collects = False


class PipelinedRedis(redis.Redis):
    """See the module. Commands fail as they do alone: each with its own error, all when Redis is
    gone. Pipelines, locks and the rest are `redis.Redis`'s.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lock = threading.Lock()  # guards the next two
        self._waiting: list[_Pending] = []
        self._under_way = False
        self._sources: dict[str, str | bytes] = {}  # of scripts, by digest
        self._thread = _ThreadState()
        self._kept: tuple[int, Any] | None = None  # our process and its connection

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """As `redis.Redis.from_url`."""
        return cast("Self", super().from_url(url, **options))

    def register_script(self, script: Any) -> Script:
        """As `redis.Redis.register_script`."""
        made: Script = super().register_script(script)
        self._sources[made.sha] = script
        return made

    @property
    def waiting(self) -> int:
        """How many commands wait for the next round trip."""
        return len(self._waiting)

    @contextmanager
    def after_next(self, write: Callable[[], object]) -> Iterator[None]:
        """What `write` sends rides behind this thread's first command in the block, in order.

        To `write` every reply is None; one that is an error is logged. If the block sends no
        command, nothing of it is sent.
        """
        thread = self._thread
        thread.piggybacked, thread.collects = [], True
        try:
            write()
            thread.collects = False
            yield
        finally:
            thread.piggybacked, thread.collects = [], False

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """As `redis.Redis.execute_command`."""
        if args[0] not in _PIPELINED:
            return self._directly(args, options)
        thread = self._thread
        if thread.collects:
            thread.piggybacked.append((args, options))
            return None
        piggybacked, thread.piggybacked = thread.piggybacked, []
        own = _Pending(args, options, piggybacked)
        with self._lock:
            self._waiting.append(own)
            joins, self._under_way = self._under_way, True
            own.leads = not joins
        try:
            if joins:
                own.wake.acquire()
            if not own.replied:
                self._lead(own)
        except BaseException:
            self._withdraw(own)
            raise
        if isinstance(own.reply, BaseException):
            raise own.reply
        return own.reply

    def _lead(self, own: _Pending) -> None:
        """Take all who wait along, then let the next round trip begin, then hand out replies."""
        with self._lock:
            taken, self._waiting = self._waiting, []
        lost: Any = redis.exceptions.ConnectionError("the thread that asked for all was stopped")
        try:
            replies = self._round_trip(taken)
        except (redis.RedisError, OSError) as error:
            replies = [error] * len(taken)
        except BaseException:
            replies = [lost] * len(taken)
            raise
        finally:
            self._appoint()
            for pending, reply in zip(taken, replies, strict=True):
                pending.reply, pending.replied = reply, True
                if pending is not own:
                    pending.wake.release()

    def _appoint(self) -> None:
        """Let the first of those who wait lead the next round trip, or nobody."""
        with self._lock:
            leader = self._waiting[0] if self._waiting else None
            self._under_way = leader is not None
            if leader is not None:
                leader.leads = True
                leader.wake.release()

    def _withdraw(self, own: _Pending) -> None:
        """Its thread was stopped: nobody may wait for a round trip that it was to lead."""
        with self._lock:
            if own not in self._waiting:
                return
            self._waiting.remove(own)
        if own.leads:
            self._appoint()

    def _round_trip(self, taken: list[_Pending]) -> list[Any]:
        commands = [each for own in taken for each in ((own.args, own.options), *own.piggybacked)]
        found = self._over_kept(commands)
        replies = iter(self._anew(commands) if found is None else found)
        wanted = []
        for own in taken:
            wanted.append(next(replies))
            for command in own.piggybacked:
                self._see_to(command, next(replies))
        return wanted

    def _over_kept(self, commands: list[_Command]) -> list[Any] | None:
        """The replies, errors among them; None if the connection broke. For the leader alone."""
        if self._kept is None or self._kept[0] != os.getpid():
            self._kept = os.getpid(), self.connection_pool.get_connection()
        connection = self._kept[1]
        try:
            packed = b"".join([hiredis.pack_command(args) for args, _ in commands])
            connection.send_packed_command([packed])
            return [self._read(connection, args[0], options) for args, options in commands]
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            self._let_go(connection)
            return None
        except BaseException:  # replies may be under way that nobody would read
            self._let_go(connection)
            raise

    def _let_go(self, connection: Any) -> None:
        self._kept = None
        connection.disconnect()
        self.connection_pool.release(connection)

    def _read(self, connection: Any, name: str, options: dict[str, Any]) -> Any:
        try:
            return self.parse_response(connection, name, **options)  # type: ignore[no-untyped-call]
        except redis.exceptions.ResponseError as error:
            return error

    def _anew(self, commands: list[_Command]) -> list[Any]:
        with self.pipeline(transaction=False) as pipe:
            for args, options in commands:
                pipe.execute_command(*args, **options)  # type: ignore[no-untyped-call]
            return pipe.execute(raise_on_error=False)

    def _see_to(self, command: _Command, reply: Any) -> None:
        """Of a piggybacked command: send its script if Redis has lost it, log an error."""
        args, options = command
        if isinstance(reply, redis.exceptions.NoScriptError) and args[1] in self._sources:
            try:
                self._directly(("EVAL", self._sources[args[1]], *args[2:]), options)
            except (redis.RedisError, OSError) as error:
                reply = error
            else:
                return
        if isinstance(reply, Exception):
            log.warning("a piggybacked %s failed: %s", args[0], reply)

    def _directly(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
