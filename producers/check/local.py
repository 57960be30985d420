"""What `doctor` finds, and asks of this side: interpreter, Redis, lake, workers."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import redis
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from alphamill.errors import AlphamillError, Misconfigured, RetryLater
from alphamill.fleet.differences import Finding, compared
from alphamill.jobs import Queue, RunKind
from alphamill.lake import Lake
from alphamill.ledger import RedisLedger
from alphamill.ledger.presence import SILENCE_S, Presence, Worker
from alphamill.llm.journal.records import CallRecord
from alphamill.redis_address import CLUSTER, is_cluster, open_client, shown
from alphamill.redis_store import fault_of
from alphamill.report.values import plain
from alphamill.runs.cut_prompts import CURE, cut_prompts
from alphamill.runs.under_way import calls_so_far
from alphamill.settings import REDIS_ENDPOINT_FILE, Settings
from alphamill.stack.embedded_redis import answers
from alphamill.stack.pools import POOLS

_REDIS_TIMEOUT_S = 2.0
_RUNS_LOOKED_AT = 5  # for one that has asked a model
_NEARLY_FULL_FRAC = 0.8
_DIFFERENCES_SHOWN = 12  # between workers and this shell; a restart mends them together


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `cure` says what to do about a warning or a failure."""

    state: Literal["ok", "warn", "fail"]
    name: str
    detail: str
    cure: str = ""

    def to_dict(self) -> dict[str, str]:
        """JSON values."""
        return {"name": self.name, **asdict(self)}


ok, warn, fail = partial(Check, "ok"), partial(Check, "warn"), partial(Check, "fail")


def failed(name: str, error: AlphamillError) -> Check:
    """The finding that an error stands for."""
    if isinstance(error, Misconfigured):
        return fail(name, error.problem, f"{error.setting}: {error.cure}")
    problem, _, cure = str(error).partition("; ")  # as its message is written
    return fail(name, problem, cure)


def python_check() -> Check:
    """The interpreter's version."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info >= (3, 14):
        return warn("python", f"{found}; tried with 3.11 to 3.13", "use 3.13 if it fails")
    return ok("python", found)


def redis_checks(settings: Settings) -> Iterator[Check]:
    """The server, what it forgets, the workers and the sweep; without a server only that."""
    try:
        client = quick_client(settings.redis_url)
        client.ping()
        info: Mapping[str, Any] = client.info()
    except redis.exceptions.NoPermissionError:
        yield warn(
            "redis", "its user may not ask INFO: memory and persistence not checked", "+info"
        )
        yield from _presence_checks(client, settings)
        return
    except (redis.RedisError, ValueError) as error:
        yield _redis_problem(error, settings.redis_url)
        yield from _other_stack(settings)
        return
    if is_cluster(info):
        yield fail("redis", *CLUSTER)
        return
    server = "valkey" if info.get("server_name") == "valkey" else "redis"
    version = info.get(f"{server}_version") or info.get("redis_version", "?")
    where = shown(settings.redis_url)
    if info.get("role") == "slave":
        yield fail("redis", f"{where} is a replica: it takes no jobs", "name its master")
        return
    yield server_check(server, str(version), where)
    yield _persistence(info, client)
    yield _eviction(info)
    memory = memory_check(info)
    yield memory
    if memory.state == "fail":
        yield warn(
            "workers", "not known: a full Redis takes no announcements", "free its memory first"
        )
        return
    yield from _presence_checks(client, settings)


def _presence_checks(client: redis.Redis, settings: Settings) -> Iterator[Check]:
    presence = Presence(client)
    here = presence.here()
    yield workers_check(here)
    if not here:
        yield from _other_stack(settings)
    yield from differences_found(compared(presence, settings, here))
    yield _sweep(presence)


def _other_stack(settings: Settings) -> Iterator[Check]:
    """Workers of this home's stack that serve another Redis than this shell asks."""
    try:
        url = (settings.home / REDIS_ENDPOINT_FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return
    if url != settings.redis_url and answers(url):
        yield warn(
            "other redis",
            f"the stack of {settings.home} runs at {shown(url)}: its workers serve that Redis",
            "unset ALPHAMILL_REDIS_URL to use it, or start workers for the one it names",
        )


def differences_found(found: Sequence[Finding]) -> Iterator[Check]:
    """A warning for each thing in which workers are not as this shell, the gravest first.

    What a run brings itself is told in one line: such a worker has old settings, and no harm
    comes of it.
    """
    grave = [one for one in found if one.difference.matters]
    for one in grave[:_DIFFERENCES_SHOWN]:
        yield warn(_named(one), str(one), one.cure)
    if len(grave) > _DIFFERENCES_SHOWN:
        more = f"{len(grave) - _DIFFERENCES_SHOWN} more differences"
        yield warn(_named(grave[-1]), more, grave[-1].cure)
    if brought := [one for one in found if not one.difference.matters]:
        others = f", and {len(brought) - 1} more such settings" if len(brought) > 1 else ""
        yield ok(_named(brought[0]), f"{brought[0]}{others}", "a restart takes them up")


def _named(found: Finding) -> str:
    kind = found.difference.kind
    return f"worker {'code' if kind == 'untold' else kind}"


def prompts_checks(settings: Settings) -> Iterator[Check]:
    """Whether models cut their prompts in the newest mining run that asked any; else nothing."""
    try:
        client = quick_client(settings.redis_url)
        runs = RedisLedger(client, settings.ledger).runs()
        mined = [run.id for run in runs if run.kind == RunKind.MINE][:_RUNS_LOOKED_AT]
        calls = next(filter(None, (calls_so_far(client, run) for run in mined)), [])
    except (redis.RedisError, ValueError, RetryLater):
        return  # which the check of Redis says
    yield from prompts_found(calls)


def prompts_found(calls: Sequence[CallRecord]) -> Iterator[Check]:
    """A warning for each model that read less than it was sent."""
    for cut in cut_prompts(calls):
        yield warn("prompts", f"{cut} (newest mining run)", CURE)


def server_check(server: str, version: str, where: str) -> Check:
    """The server and its version; the scripts and the broker were tried from 6.2 on."""
    found = f"{server} {version} at {where}"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < (6, 2):
        return warn("redis", f"{found}; tried from 6.2 on", "use a newer server")
    return ok("redis", found)


def quick_client(url: str, timeout_s: float = _REDIS_TIMEOUT_S) -> redis.Redis:
    """A client that gives up at its first failure."""
    return open_client(
        url, socket_connect_timeout=timeout_s, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )


def _redis_problem(error: Exception, url: str) -> Check:
    problem, cure = fault_of(error, url)
    return fail("redis", plain(problem, 160), f"ALPHAMILL_REDIS_URL: {cure}")


def _persistence(info: Mapping[str, Any], client: redis.Redis) -> Check:
    if info.get("aof_enabled"):
        if info.get("aof_last_write_status", "ok") != "ok":
            return fail(
                "persistence",
                "the append-only file cannot be written",
                "free space on the Redis server's disk",
            )
        return ok("persistence", "append-only file")
    try:
        saves = str(client.config_get("save").get("save", ""))
    except redis.RedisError:  # managed servers hide CONFIG
        return warn(
            "persistence",
            "no append-only file",
            "turn on appendonly: a restart forgets what was paid for",
        )
    if saves:
        return warn(
            "persistence",
            f"snapshots only (save {saves})",
            "turn on appendonly: a crash forgets all since the last snapshot",
        )
    return fail(
        "persistence", "none: a restart forgets runs and paid replies", "set appendonly yes"
    )


def _eviction(info: Mapping[str, Any]) -> Check:
    policy, limit = info.get("maxmemory_policy", "?"), int(info.get("maxmemory", 0))
    if policy == "noeviction":
        return ok("eviction", "noeviction")
    if not limit:
        return warn(
            "eviction",
            f"{policy}, harmless while maxmemory is 0",
            "set maxmemory-policy noeviction",
        )
    return fail(
        "eviction",
        f"{policy}: a full server deletes jobs without a word",
        "set maxmemory-policy noeviction",
    )


def memory_check(info: Mapping[str, Any]) -> Check:
    """How full the server is: a full one takes no jobs, and every run stands still."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        return ok("memory", f"{_megabytes(used)} used, no limit")
    found = f"{_megabytes(used)} of {_megabytes(limit)} used"
    if used >= limit:
        return fail(
            "memory",
            f"Redis is full ({found}): it takes nothing new, so every run stands still",
            "raise its maxmemory or give it more memory; runs go on by themselves",
        )
    if used >= _NEARLY_FULL_FRAC * limit:
        return warn("memory", found, "raise its maxmemory: every run stands still in a full Redis")
    return ok("memory", found)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def workers_check(here: Sequence[Worker]) -> Check:
    """Which pools have a worker; a queue that nobody reads stops every run."""
    counts = {pool: sum(worker.pool == pool for worker in here) for pool in POOLS}
    read = {queue for worker in here if not worker.pool for queue in worker.queues}
    idle = [pool for pool, n in counts.items() if not n and not read & _queues(pool)]
    detail = ", ".join(f"{pool} {n}" for pool, n in counts.items() if n)
    if not idle:
        return ok("workers", detail)
    return fail(
        "workers",
        (f"{detail}; " if detail else "") + f"none for {', '.join(idle)}",
        f"start {'them' if len(idle) > 1 else 'it'}: "
        + ("alphamill up" if not detail else "; ".join(f"alphamill worker {p}" for p in idle)),
    )


def _queues(pool: str) -> set[str]:
    return {queue.value for queue in Queue if queue.value.partition(".")[0] == pool}


def _sweep(presence: Presence) -> Check:
    last_ms = presence.swept_ms()
    if last_ms is None:
        return fail(
            "beat",
            f"nothing was swept in the last {SILENCE_S} s: lost messages stay lost",
            "start alphamill beat and a control worker (alphamill up has both)",
        )
    ago_s = max(0.0, time.time() - last_ms / 1000)
    return ok("beat", f"the ledger was swept {ago_s:.0f} s ago")


def lake_checks(settings: Settings) -> Iterator[Check]:
    """Whether a file can be written and removed in the lake."""
    Lake(settings.lake_uri).check_writable()
    yield ok("lake", f"{settings.lake_uri} can be written")
