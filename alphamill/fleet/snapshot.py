"""What is read of the fleet at one moment, in a few pipelined trips; no job is looked at."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis

from alphamill.errors import Misconfigured
from alphamill.fleet import differences
from alphamill.fleet.backlog import backlog, budget_room, exchange_room, tier_room
from alphamill.fleet.identity import Identity, identity
from alphamill.frames import Market
from alphamill.jobs import Queue, RunKind
from alphamill.ledger.overview import LedgerOverview, QueueDepth, RunOverview
from alphamill.ledger.presence import Presence, Worker
from alphamill.limits import RedisLimiter, binance_pool, shown_pool, tier_pool
from alphamill.limits.protocol import Pool, PoolState
from alphamill.live.condition import Condition
from alphamill.live.followers import Followers
from alphamill.llm.breaker.redis import OpenCircuit, circuit_keys, open_circuits
from alphamill.llm.journal.budget import Account, utc_day
from alphamill.llm.journal.redis import RedisJournal
from alphamill.redis_store import as_text, reached
from alphamill.runs.under_way import JobTotals, job_totals
from alphamill.settings import ModelSettings, Settings, Tier

ENDED_SHOWN = 8
_RATE_S = 30.0  # a rate over less jumps; over more it lags
_WEIGHT_LIMIT = 1200  # a minute's, where the exchange has not stated it yet
_TIER_QUEUES = {
    Queue.QUICK_SCAN: Tier.QUICK_SCAN,
    Queue.DETAILED_ANALYSIS: Tier.DETAILED_ANALYSIS,
    Queue.FINAL_VERIFICATION: Tier.FINAL_VERIFICATION,
}


@dataclass(frozen=True, slots=True)
class RunView:
    """A run. left_s: until its end if it goes on like this; None where that cannot be told.

    account: what its model calls cost; cap_usd_micros: what they may. None and 0 without models.
    stopped_by: which budget refused a call for good, if one did.
    """

    id: str
    kind: str
    state: str
    priority: int
    created_ms: int
    finished_ms: int | None
    jobs: JobTotals
    jobs_per_s: float
    left_s: float | None
    account: Account | None
    cap_usd_micros: int
    stopped_by: str = ""


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue over all active runs. backlog: see `fleet.backlog`. slots: of its workers."""

    name: str
    ready: int
    queued: int
    running: int
    oldest_s: float | None  # for how long the one that waits longest has waited
    backlog: int
    slots: int


@dataclass(frozen=True, slots=True)
class LimitView:
    """One limit of a pool, in its own units. paused_s: 0 while it is not.

    used: of the current window; of a rate, in the last minute.
    """

    pool: str
    name: str
    used: float
    limit: float
    paused_s: float
    pause_reason: str


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker, how many seconds ago it was heard of, and what of it is not as here and matters."""

    worker: Worker
    heard_s: float
    differs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything at one moment, by the ledger's clock. swept_s: since the sweep; None: no beat."""

    at_ms: int
    runs: Sequence[RunView]
    queues: Sequence[QueueView]
    limits: Sequence[LimitView]
    circuits: Sequence[OpenCircuit]
    day: Account
    day_cap_usd_micros: int
    workers: Sequence[WorkerView]
    differences: Sequence[str]  # of workers and this process, that matter: see fleet.differences
    failures: Mapping[tuple[str, str], int]  # (stage, kind of reason) -> dead jobs
    jobs: Mapping[tuple[str, str], int]  # (stage, state) -> jobs of the runs that were read
    spent_usd_micros: int  # by the runs that were read
    jobs_per_s: float
    swept_s: float | None
    followers: Sequence[Condition]  # of lives, as each told of itself

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        plain = asdict(self)
        plain["workers"] = [
            {**asdict(view.worker), "heard_s": view.heard_s, "differs": list(view.differs)}
            for view in self.workers
        ]
        plain["circuits"] = [
            {
                "host": circuit.host,
                "model": circuit.model,
                "wait_s": circuit.wait_s,
                "kind": circuit.kind.name if circuit.kind else None,
                "cause": circuit.cause,
            }
            for circuit in self.circuits
        ]
        plain["failures"] = [
            {"stage": stage, "reason": reason, "jobs": jobs}
            for (stage, reason), jobs in self.failures.items()
        ]
        plain["jobs"] = [
            {"stage": stage, "state": state, "jobs": jobs}
            for (stage, state), jobs in self.jobs.items()
        ]
        return plain


class FleetReader:
    """Looks as often as it is asked; rates are of the time between looks.

    Raises RetryLater while Redis does not answer.
    """

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis: Any = client
        self._settings = settings
        self._monotonic_s = monotonic_s
        self._ledger = LedgerOverview(client)
        self._presence = Presence(client)
        self._limiter = RedisLimiter(client)
        self._journal = RedisJournal(client)
        self._followers = Followers(client)
        self._own: Identity | None = None
        self._identities: dict[str, Identity] = {}
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque()  # when, jobs settled by run

    def read(self, most_ended: int | None = ENDED_SHOWN) -> Fleet:
        """The fleet now. most_ended: runs that have ended, the newest; None: all of them."""
        runs = self._ledger.runs(most_ended)
        now_ms = self._ledger.now_ms()
        of_runs, day = self._journal.accounts([run.id for run in runs], utc_day(now_ms))
        circuits = open_circuits(self._redis)
        pools = self._pools(runs)
        states = dict(zip(pools, self._limiter.states(list(pools.values())), strict=True))
        workers, differing = self._workers()
        active = [run for run in runs if run.state.active]
        room = _Room(self._settings, pools, states, circuits, of_runs, day, now_ms)
        rates = self._rates(active, now_ms)
        swept_ms = self._presence.swept_ms()
        return Fleet(
            at_ms=now_ms,
            runs=[_run_view(run, rates.get(run.id, 0.0), of_runs[run.id], day) for run in runs],
            queues=[_queue_view(queue, active, room, workers, now_ms) for queue in Queue],
            limits=[view for name in pools for view in _limit_views(states[name], now_ms)],
            circuits=circuits,
            day=day,
            day_cap_usd_micros=int(self._settings.budget.day_usd * 1_000_000),
            workers=workers,
            differences=differing,
            failures=_added(run.failed for run in runs),
            jobs=_added(_by_stage(run) for run in runs),
            spent_usd_micros=sum(account.spent_usd_micros for account in of_runs.values()),
            jobs_per_s=sum(rates.values()),
            swept_s=None if swept_ms is None else max(0.0, (now_ms - swept_ms) / 1000),
            followers=self._followers.told(),
        )

    def _workers(self) -> tuple[list[WorkerView], list[str]]:
        heard = self._presence.heard()
        who = [worker for worker, _ in heard]
        if who and self._own is None:
            self._own = identity(self._settings, self._presence.salt())
        if unknown := [one for one in who if one.identity not in self._identities]:
            self._identities |= differences.told_by(self._presence, unknown)
        found = differences.findings(self._own, who, self._identities) if self._own else []
        grave = [one for one in found if one.difference.matters]
        differs: dict[str, list[str]] = {}
        for one in grave:
            for worker in one.workers:
                differs.setdefault(worker.name, []).append(str(one.difference))
        views = [WorkerView(one, heard_s, differs.get(one.name, ())) for one, heard_s in heard]
        return views, [f"{one}: {one.cure}" for one in grave]

    def _pools(self, runs: Sequence[RunOverview]) -> dict[str, Pool]:
        """By name: of the markets that active runs fetch, spot's always, and of the tiers."""
        active = [run for run in runs if run.state.active]
        markets = dict.fromkeys([Market.SPOT, *(_market(run) for run in active)])
        found: dict[str, Pool] = {}
        for market, limit in self._weight_limits(markets, active).items():
            pool = shown_pool(self._settings.binance, market, limit)
            found.setdefault(pool.name, pool)
        llm = self._settings.llm
        for tier, chosen in llm.tiers.items():
            for model in chosen.models:
                pool = tier_pool(tier, llm.endpoint(model).url, chosen)
                found.setdefault(pool.name, pool)
        return found

    def _weight_limits(
        self, markets: Mapping[Market, None], active: Sequence[RunOverview]
    ) -> dict[Market, int]:
        """As the exchange has stated them to the workers of these runs."""
        limits = dict.fromkeys(markets, 0)
        with reached("Redis does not answer"), self._redis.pipeline(transaction=False) as pipe:
            for run in active:
                pipe.hget(f"alphamill:bars:{run.id}", "weight_limit")
            stated = pipe.execute() if active else []
        for run, limit in zip(active, stated, strict=True):
            if limit is not None:
                market = _market(run)
                limits[market] = max(limits[market], int(as_text(limit)))
        return {market: limit or _WEIGHT_LIMIT for market, limit in limits.items()}

    def _rates(self, active: Sequence[RunOverview], now_ms: int) -> dict[str, float]:
        """Jobs a second by run: of the last half minute, at the first look of its whole life."""
        now_s = self._monotonic_s()
        settled = {run.id: job_totals(run.counts).settled for run in active}
        self._seen.append((now_s, settled))
        while len(self._seen) > 2 and now_s - self._seen[1][0] >= _RATE_S:
            self._seen.popleft()
        rates = {}
        for run in active:
            looks = [(at_s, jobs[run.id]) for at_s, jobs in self._seen if run.id in jobs]
            first_s, before = looks[0]
            if now_s - first_s >= 2.0:
                rates[run.id] = max(0, settled[run.id] - before) / (now_s - first_s)
            else:
                rates[run.id] = settled[run.id] / max(1.0, (now_ms - run.created_ms) / 1000)
        return rates


@dataclass(frozen=True, slots=True)
class _Room:
    """How many waiting jobs of a queue limits and budgets let begin."""

    settings: Settings
    pools: Mapping[str, Pool]
    states: Mapping[str, PoolState]
    circuits: Sequence[OpenCircuit]
    accounts: Mapping[str, Account]
    day: Account
    now_ms: int

    def backlog(self, queue: Queue, active: Sequence[RunOverview]) -> int:
        if queue is Queue.FETCH:
            return sum(
                backlog(queue, of_pool, {}, self._exchange(name))
                for name, of_pool in self._by_pool(active).items()
            )
        if queue in _TIER_QUEUES:
            rooms = {
                run.id: budget_room(self.accounts[run.id], run.budget_usd_micros)
                for run in active
                if run.id in self.accounts
            }
            day = budget_room(self.day, int(self.settings.budget.day_usd * 1_000_000))
            return backlog(queue, active, rooms, min(day, self._tier(_TIER_QUEUES[queue])))
        return backlog(queue, active, {})

    def _by_pool(self, active: Sequence[RunOverview]) -> dict[str, list[RunOverview]]:
        found: dict[str, list[RunOverview]] = {}
        for run in active:
            pool = binance_pool(self.settings.binance, _market(run), _WEIGHT_LIMIT)
            found.setdefault(pool.name, []).append(run)
        return found

    def _exchange(self, name: str) -> int:
        return exchange_room(self.pools[name], self.states[name], self.now_ms)

    def _tier(self, tier: Tier) -> int:
        """Of the first of its models that is asked now."""
        chosen = self.settings.llm.tiers[tier]
        for model in chosen.models:
            if not self._refused(model):
                url = self.settings.llm.endpoint(model).url
                name = tier_pool(tier, url, chosen).name
                return tier_room(self.pools[name], self.states[name], chosen.max_tokens)
        return 0

    def _refused(self, model: ModelSettings) -> bool:
        endpoint = self.settings.llm.endpoint(model)
        try:
            keys = circuit_keys(endpoint.url, self.settings.llm.key(endpoint), model.model)
        except Misconfigured:  # no key here, so nobody knows what the circuits are called
            return False
        return any(circuit.key in keys and circuit.wait_s > 0 for circuit in self.circuits)


def _market(run: RunOverview) -> Market:
    return Market(run.spec.get("market", Market.SPOT))


def _stopped_by(account: Account, day: Account) -> str:
    if not account.exhausted_ms:
        return ""
    return "the day's budget" if day.exhausted_ms >= account.exhausted_ms else "its own budget"


def _run_view(run: RunOverview, jobs_per_s: float, account: Account, day: Account) -> RunView:
    jobs = job_totals(run.counts)
    left_s = (jobs.total - jobs.settled) / jobs_per_s if jobs_per_s > 0 else None
    mining = run.kind == RunKind.MINE
    return RunView(
        id=run.id,
        kind=run.kind,
        state=run.state.value,
        priority=run.priority,
        created_ms=run.created_ms,
        finished_ms=run.finished_ms,
        jobs=jobs,
        jobs_per_s=jobs_per_s,
        left_s=left_s if run.state.active else None,
        account=account if mining else None,
        cap_usd_micros=run.budget_usd_micros if mining else 0,
        stopped_by=_stopped_by(account, day),
    )


def _queue_view(
    queue: Queue,
    active: Sequence[RunOverview],
    room: _Room,
    workers: Sequence[WorkerView],
    now_ms: int,
) -> QueueView:
    depths = [run.queues[queue] for run in active if queue in run.queues]
    since = [depth.since_ms for depth in depths if depth.since_ms is not None]
    here = [view.worker for view in workers if queue in view.worker.queues]

    def jobs(of: Callable[[QueueDepth], int]) -> int:
        return sum(map(of, depths))

    return QueueView(
        name=queue.value,
        ready=jobs(lambda depth: depth.ready),
        queued=jobs(lambda depth: depth.queued),
        running=jobs(lambda depth: depth.running),
        oldest_s=max(0.0, (now_ms - min(since)) / 1000) if since else None,
        backlog=room.backlog(queue, active),
        slots=sum(worker.concurrency for worker in here),
    )


def _limit_views(state: PoolState, now_ms: int) -> list[LimitView]:
    paused_s = max(0.0, (state.paused_until_ms - now_ms) / 1000) if state.paused_until_ms else 0.0
    return [
        LimitView(
            pool=state.name,
            name=d.name,
            used=d.used if d.lately is None else d.lately,
            limit=d.limit,
            paused_s=paused_s,
            pause_reason=state.pause_reason,
        )
        for d in state.dimensions
    ]


def _by_stage(run: RunOverview) -> dict[tuple[str, str], int]:
    return {
        (stage, str(state)): jobs
        for stage, states in run.counts.items()
        for state, jobs in states.items()
    }


def _added(tables: Any) -> dict[tuple[str, str], int]:
    total: Counter[tuple[str, str]] = Counter()
    for table in tables:
        total.update(table)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))
