"""A Redis client whose threads share their trips to the server.

A thread that asks while another's trip is under way joins the next one; one of those who wait sends
all of it in one go and hands out the answers. A call alone costs what it always did; fifty at once
cost a few trips and not fifty. Order holds within a thread, as with one connection each. What
nobody needs an answer to can go behind a command, in its trip (`trailing`).

The trips go over one connection that is kept: redis-py's checkout, retry and metrics around every
command cost several times what packing and reading it does. When it breaks, the trip is made once
more by redis-py's own way, whose retries a lone command would have met too.
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

# What stays out: commands that block, that change the connection, or whose answer has no one shape.
_SHARED = frozenset({"EVALSHA", "HGET", "HGETALL", "HMGET"})

_Command = tuple[tuple[Any, ...], dict[str, Any]]

log = logging.getLogger(__name__)


class _Wish:
    """A command, those behind it, and what became of it. `turn` is released when there is
    something to do.
    """

    __slots__ = ("answer", "answered", "args", "behind", "leads", "options", "turn")

    def __init__(
        self, args: tuple[Any, ...], options: dict[str, Any], behind: list[_Command]
    ) -> None:
        self.args = args
        self.options = options
        self.behind = behind
        self.answer: Any = None
        self.answered = False
        self.leads = False  # its thread makes the next trip
        self.turn = threading.Lock()
        self.turn.acquire()


class _Here(threading.local):
    """What a thread's next command takes along."""

    def __init__(self) -> None:
        self.behind: list[_Command] = []
        self.collects = False


class SharedTrips(redis.Redis):
    """See the module. Commands fail as they do alone: each with its own error, all when Redis is
    gone. Pipelines, locks and the rest are `redis.Redis`'s.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._gathering = threading.Lock()
        self._waiting: list[_Wish] = []
        self._under_way = False
        self._texts: dict[str, str | bytes] = {}  # of scripts, by digest
        self._here = _Here()
        self._kept: tuple[int, Any] | None = None  # our process and its connection for trips

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """As `redis.Redis.from_url`."""
        return cast("Self", super().from_url(url, **options))

    def register_script(self, script: Any) -> Script:
        """As `redis.Redis.register_script`."""
        made: Script = super().register_script(script)
        self._texts[made.sha] = script
        return made

    @contextmanager
    def trailing(self, also: Callable[[], object]) -> Iterator[None]:
        """What `also` asks of Redis goes behind this thread's first command in the block, in the
        same trip and in order. To `also` every answer is None; one that is an error is logged.
        """
        here = self._here
        here.behind, here.collects = [], True
        try:
            also()
            here.collects = False
            yield
        finally:
            here.behind, here.collects = [], False

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """As `redis.Redis.execute_command`."""
        if args[0] not in _SHARED:
            return self._alone(args, options)
        here = self._here
        if here.collects:
            here.behind.append((args, options))
            return None
        behind, here.behind = here.behind, []
        wish = _Wish(args, options, behind)
        with self._gathering:
            self._waiting.append(wish)
            joins, self._under_way = self._under_way, True
            wish.leads = not joins
        try:
            if joins:
                wish.turn.acquire()
            if not wish.answered:
                self._travel(wish)
        except BaseException:
            self._step_out(wish)
            raise
        if isinstance(wish.answer, BaseException):
            raise wish.answer
        return wish.answer

    def _step_out(self, wish: _Wish) -> None:
        """Its thread was stopped: nobody may wait for a trip that it was to make."""
        with self._gathering:
            if wish not in self._waiting:
                return
            self._waiting.remove(wish)
        if wish.leads:
            self._pass_on()

    def _pass_on(self) -> None:
        """Let the first of those who wait travel, or nobody."""
        with self._gathering:
            following = self._waiting[0] if self._waiting else None
            self._under_way = following is not None
            if following is not None:
                following.leads = True
                following.turn.release()

    def _travel(self, own: _Wish) -> None:
        """Take everybody who waits along, then let the next trip begin, then hand out answers."""
        with self._gathering:
            taken, self._waiting = self._waiting, []
        lost: Any = redis.exceptions.ConnectionError("the thread that asked for all was stopped")
        try:
            answers = self._ask(taken)
        except (redis.RedisError, OSError) as error:
            answers = [error] * len(taken)
        except BaseException:
            answers = [lost] * len(taken)
            raise
        finally:
            self._pass_on()
            for wish, answer in zip(taken, answers, strict=True):
                wish.answer, wish.answered = answer, True
                if wish is not own:
                    wish.turn.release()

    def _ask(self, wishes: list[_Wish]) -> list[Any]:
        commands = [each for wish in wishes for each in ((wish.args, wish.options), *wish.behind)]
        found = self._over_kept(commands)
        answers = iter(self._anew(commands) if found is None else found)
        wanted = []
        for wish in wishes:
            wanted.append(next(answers))
            for command in wish.behind:
                self._see_to(command, next(answers))
        return wanted

    def _over_kept(self, commands: list[_Command]) -> list[Any] | None:
        """The answers, errors among them; None if the connection broke. Only who leads calls it."""
        if self._kept is None or self._kept[0] != os.getpid():
            self._kept = os.getpid(), self.connection_pool.get_connection()
        line = self._kept[1]
        try:
            packed = b"".join([hiredis.pack_command(args) for args, _ in commands])
            line.send_packed_command([packed])
            return [self._read(line, args[0], options) for args, options in commands]
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            self._let_go(line)
            return None
        except BaseException:  # answers may be under way that nobody would read
            self._let_go(line)
            raise

    def _let_go(self, line: Any) -> None:
        self._kept = None
        line.disconnect()
        self.connection_pool.release(line)

    def _read(self, line: Any, name: str, options: dict[str, Any]) -> Any:
        try:
            return self.parse_response(line, name, **options)  # type: ignore[no-untyped-call]
        except redis.exceptions.ResponseError as error:
            return error

    def _anew(self, commands: list[_Command]) -> list[Any]:
        with self.pipeline(transaction=False) as trip:
            for args, options in commands:
                trip.execute_command(*args, **options)  # type: ignore[no-untyped-call]
            return trip.execute(raise_on_error=False)

    def _see_to(self, command: _Command, answer: Any) -> None:
        """One that was behind another: nobody waits for its answer."""
        args, options = command
        if isinstance(answer, redis.exceptions.NoScriptError) and args[1] in self._texts:
            try:
                self._alone(("EVAL", self._texts[args[1]], *args[2:]), options)
            except (redis.RedisError, OSError) as error:
                answer = error
            else:
                return
        if isinstance(answer, Exception):
            log.warning("a trailing %s failed: %s", args[0], answer)

    def _alone(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
