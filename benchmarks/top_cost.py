"""What a page of `alphamill top` a second costs Redis, from INFO commandstats.

Twenty workers are announced and a run of 50,000 jobs, a hundred of which ran, is in the ledger,
beside a hundred ended runs. Redis counts the microseconds that it spends in each command; what the
looks cost is put against the seconds that they stand for. Run: python benchmarks/top_cost.py
[--jobs N] [--looks N] [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import redis

from alphamill.fleet.snapshot import FleetReader
from alphamill.ledger import JobSpec, RedisLedger
from alphamill.ledger.presence import Presence, Worker
from alphamill.redis_address import open_client
from alphamill.settings import LedgerSettings, load_settings
from alphamill.stack.embedded_redis import EmbeddedRedis
from alphamill.stack.pools import POOLS

WORKERS = 20
ENDED_RUNS = 100
RAN = 100


def fill(client: redis.Redis, jobs: int) -> None:
    """A fleet in the middle of a large run, with a past."""
    ledger = RedisLedger(client, LedgerSettings())
    for number in range(ENDED_RUNS):
        run = f"fetch-ended-{number}"
        ledger.open_run(run, "fetch", {"market": "spot"})
        ledger.add_jobs(run, [JobSpec("one", "fetch", "fetch", {})])
        ledger.cancel(run)
    ledger.open_run("fetch-large", "fetch", {"market": "spot"})
    names = [f"job-{number}" for number in range(jobs)]
    ledger.add_jobs("fetch-large", [JobSpec(name, "fetch", "fetch", {}) for name in names])
    ledger.seal("fetch-large")
    ledger.feed("fetch-large")
    for name in names[:RAN]:
        claim = ledger.claim("fetch-large", name, "one")
        assert claim is not None
        ledger.finish(claim, {})
    presence, pools = Presence(client), list(POOLS.values())
    for number in range(WORKERS):
        pool = pools[number % len(pools)]
        queues = tuple(queue.value for queue in pool.queues)
        presence.announce(Worker(f"{pool.name}-{number}@host", pool.name, queues, 8, number))


def spent_us(client: redis.Redis) -> dict[str, int]:
    """Microseconds by command since the last reset, but for the asking itself."""
    stats = client.info("commandstats")
    return {
        name.removeprefix("cmdstat_"): row["usec"]
        for name, row in stats.items()
        if not name.startswith(("cmdstat_info", "cmdstat_config"))
    }


def measure(url: str, jobs: int, looks: int) -> dict[str, object]:
    """The cost of `looks` pages, one of which stands for a second."""
    settings = load_settings({"ALPHAMILL_REDIS_URL": url})
    with open_client(url) as client:
        fill(client, jobs)
        reader = FleetReader(client, settings)
        reader.read()  # the first also reads what never changes
        client.config_resetstat()
        for _ in range(looks):
            reader.read()
        by_command = spent_us(client)
        calls = sum(
            row["calls"]
            for name, row in client.info("commandstats").items()
            if not name.startswith(("cmdstat_info", "cmdstat_config"))
        )
    # EVALSHA's time includes that of the commands that its script calls, which are listed too.
    total_us = sum(by_command.values())
    return {
        "jobs": jobs,
        "workers": WORKERS,
        "looks": looks,
        "commands_a_look": calls / looks,
        "redis_us_a_look": total_us / looks,
        "share_at_one_a_second": total_us / looks / 1e6,
        "by_command_us": dict(sorted(by_command.items(), key=lambda item: -item[1])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--looks", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedRedis(Path(folder))
        try:
            found = measure(server.start(), chosen.jobs, chosen.looks)
        finally:
            server.stop()
    if chosen.json:
        print(json.dumps(found))
        return
    print(f"{found['jobs']:,} jobs, {found['workers']} workers, {found['looks']} looks")
    print(f"commands a look {found['commands_a_look']:.1f}")
    print(f"Redis' time a look {found['redis_us_a_look']:.0f} us")
    print(f"share of Redis' time at one look a second {found['share_at_one_a_second']:.4%}")


if __name__ == "__main__":
    main()
