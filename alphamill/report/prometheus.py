"""The fleet's figures in Prometheus' text format, from what the ledger holds at this moment.

Nothing is counted here, so two servers of these figures never tell more than one: whoever adds up
adds over labels, not over instances. Money is exact to the micro-dollar. Format: Prometheus,
"Exposition formats", text version 0.0.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from alphamill.fleet.snapshot import Fleet, RunView
from alphamill.ledger import RunState
from alphamill.live.condition import Condition
from alphamill.report.values import plain

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TOKENS = {"prompt": "prompt_tokens", "cached": "cached_tokens", "completion": "completion_tokens"}


class Family(NamedTuple):
    """A metric: its kind, what it says, and its labels."""

    kind: Literal["gauge", "counter"]
    says: str
    labels: tuple[str, ...] = ()


FAMILIES: Mapping[str, Family] = {
    "alphamill_backlog": Family(
        "gauge",
        "Jobs that run or could: no more than limits, circuits and budgets allow. For autoscalers.",
        ("queue",),
    ),
    "alphamill_queue_jobs": Family(
        "gauge", "Jobs of active runs by queue: ready, queued or running.", ("queue", "state")
    ),
    "alphamill_queue_oldest_seconds": Family(
        "gauge", "For how long the job that waits longest has waited; 0 if none does.", ("queue",)
    ),
    "alphamill_queue_slots": Family("gauge", "Slots of the workers that read a queue.", ("queue",)),
    "alphamill_runs": Family("gauge", "Runs in the ledger.", ("kind", "state")),
    "alphamill_jobs": Family("gauge", "Jobs of all runs in the ledger.", ("stage", "state")),
    "alphamill_jobs_dead": Family(
        "gauge", "Dead jobs by kind of reason, of all runs in the ledger.", ("stage", "reason")
    ),
    "alphamill_run_jobs": Family("gauge", "Jobs of an active run.", ("run",)),
    "alphamill_run_jobs_settled": Family("gauge", "Of them, those that are settled.", ("run",)),
    "alphamill_run_budget_usd": Family(
        "gauge", "What an active run's model calls may cost.", ("run",)
    ),
    "alphamill_run_spent_usd": Family("gauge", "What they have cost.", ("run",)),
    "alphamill_spent_usd": Family("gauge", "What the model calls of all runs in the ledger cost."),
    "alphamill_day_budget_usd": Family("gauge", "What model calls of a UTC day may cost."),
    "alphamill_day_spent_usd": Family("gauge", "What today's have cost."),
    "alphamill_day_reserved_usd": Family("gauge", "What is set aside for calls under way."),
    "alphamill_day_unknown_usd": Family(
        "gauge", "What counts as spent for calls whose outcome nobody saw."
    ),
    "alphamill_llm_requests_total": Family(
        "counter", "Model calls that were answered and paid for.", ("tier", "model")
    ),
    "alphamill_llm_tokens_total": Family(
        "counter", "Their tokens; prompt includes cached.", ("tier", "model", "kind")
    ),
    "alphamill_llm_cost_usd_total": Family("counter", "What they cost.", ("tier", "model")),
    "alphamill_llm_errors_total": Family(
        "counter", "Model calls that failed.", ("tier", "model", "reason")
    ),
    "alphamill_limit_used": Family(
        "gauge", "Used of a limit, in its own units, by everybody.", ("pool", "limit")
    ),
    "alphamill_limit_max": Family("gauge", "The limit.", ("pool", "limit")),
    "alphamill_pool_paused_seconds": Family(
        "gauge", "For how long nobody may call; 0 without a pause.", ("pool",)
    ),
    "alphamill_circuit_open": Family(
        "gauge",
        "1 while calls to an endpoint (model empty), or to a model there, are held back.",
        ("endpoint", "model"),
    ),
    "alphamill_workers": Family("gauge", "Workers heard of lately.", ("pool", "version")),
    "alphamill_worker_heard_seconds": Family(
        "gauge", "Since when a worker was not heard of.", ("worker", "pool", "host")
    ),
    "alphamill_worker_memory_bytes": Family(
        "gauge", "A worker's memory with its children's.", ("worker", "pool", "host")
    ),
    "alphamill_sweep_age_seconds": Family(
        "gauge", "Since the ledger was swept; absent while nobody sweeps it."
    ),
    "alphamill_live_rows": Family(
        "gauge", "Rows of a live that is followed.", ("live", "market", "interval")
    ),
    "alphamill_live_behind_seconds": Family(
        "gauge",
        "For how long the bar that is published next has been over, by the exchange's clock.",
        ("live",),
    ),
    "alphamill_live_waiting": Family(
        "gauge", "Releases of bars that could not be published yet.", ("live",)
    ),
    "alphamill_live_values": Family(
        "gauge",
        "Published values by what they are to batch's: equal, late ... as in `live parity`.",
        ("live", "parity"),
    ),
    "alphamill_live_dead_letters": Family(
        "gauge", "Dead letters of a live's webhook that are kept.", ("live",)
    ),
    "alphamill_live_problems": Family(
        "gauge",
        "1 while something is the matter: a live, or what all of a market need.",
        ("market", "of"),
    ),
}


class _Samples:
    """Values by metric and labels; what has the same labels once it can be shown is added up."""

    def __init__(self) -> None:
        self._found: dict[str, dict[tuple[str, ...], float | int]] = {name: {} for name in FAMILIES}
        self._micros: set[str] = set()

    def add(self, name: str, value: float, *labels: str) -> None:
        """Add to a metric's sample."""
        shown = tuple(plain(label, 160) for label in labels)
        of_metric = self._found[name]
        of_metric[shown] = of_metric.get(shown, 0) + value

    def usd(self, name: str, micros: int, *labels: str) -> None:
        """Add micro-dollars, exactly."""
        self._micros.add(name)
        self.add(name, micros, *labels)

    def text(self) -> str:
        lines = []
        for name, family in FAMILIES.items():
            lines += [f"# HELP {name} {family.says}", f"# TYPE {name} {family.kind}"]
            for labels, value in self._found[name].items():
                named = zip(family.labels, labels, strict=True)
                inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in named)
                shown = _dollars(int(value)) if name in self._micros else f"{value!r}"
                lines.append(f"{name}{{{inside}}} {shown}" if inside else f"{name} {shown}")
        return "\n".join(lines) + "\n"


def exposition(fleet: Fleet, usage: Mapping[str, Any]) -> str:
    """The text of a scrape. fleet: with all runs; usage: `Usage.report()` of all runs."""
    samples = _Samples()
    _queues(samples, fleet)
    _runs(samples, fleet.runs)
    for (stage, state), jobs in fleet.jobs.items():
        samples.add("alphamill_jobs", jobs, stage, state)
    for (stage, reason), jobs in fleet.failures.items():
        samples.add("alphamill_jobs_dead", jobs, stage, reason)
    _money(samples, fleet)
    _calls(samples, usage)
    _limits(samples, fleet)
    _workers(samples, fleet)
    _lives(samples, fleet.followers)
    return samples.text()


def _queues(samples: _Samples, fleet: Fleet) -> None:
    for queue in fleet.queues:
        samples.add("alphamill_backlog", queue.backlog, queue.name)
        for state in ("ready", "queued", "running"):
            samples.add("alphamill_queue_jobs", getattr(queue, state), queue.name, state)
        samples.add("alphamill_queue_oldest_seconds", queue.oldest_s or 0, queue.name)
        samples.add("alphamill_queue_slots", queue.slots, queue.name)


def _runs(samples: _Samples, runs: Sequence[RunView]) -> None:
    for run in runs:
        samples.add("alphamill_runs", 1, run.kind, run.state)
        if RunState(run.state).active:  # so that there are never many series
            samples.add("alphamill_run_jobs", run.jobs.total, run.id)
            samples.add("alphamill_run_jobs_settled", run.jobs.settled, run.id)
            if run.account is not None:
                samples.usd("alphamill_run_budget_usd", run.cap_usd_micros, run.id)
                samples.usd("alphamill_run_spent_usd", run.account.spent_usd_micros, run.id)


def _money(samples: _Samples, fleet: Fleet) -> None:
    samples.usd("alphamill_spent_usd", fleet.spent_usd_micros)
    samples.usd("alphamill_day_budget_usd", fleet.day_cap_usd_micros)
    samples.usd("alphamill_day_spent_usd", fleet.day.spent_usd_micros)
    samples.usd("alphamill_day_reserved_usd", fleet.day.reserved_usd_micros)
    samples.usd("alphamill_day_unknown_usd", fleet.day.unknown_usd_micros)


def _calls(samples: _Samples, usage: Mapping[str, Any]) -> None:
    for row in usage["by"]:
        who = row["tier"], row["model"]
        samples.add("alphamill_llm_requests_total", row["requests"], *who)
        samples.usd("alphamill_llm_cost_usd_total", row["cost_usd_micros"], *who)
        for kind, measure in _TOKENS.items():
            samples.add("alphamill_llm_tokens_total", row[measure], *who, kind)
        for reason, calls in row["errors"].items():
            samples.add("alphamill_llm_errors_total", calls, *who, reason)


def _limits(samples: _Samples, fleet: Fleet) -> None:
    for limit in fleet.limits:
        samples.add("alphamill_limit_used", limit.used, limit.pool, limit.name)
        samples.add("alphamill_limit_max", limit.limit, limit.pool, limit.name)
    for pool, paused_s in {limit.pool: limit.paused_s for limit in fleet.limits}.items():
        samples.add("alphamill_pool_paused_seconds", paused_s, pool)
    # Two keys of one endpoint have a circuit each; one that is open is enough.
    for host, model in dict.fromkeys((one.host, one.model) for one in fleet.circuits):
        samples.add("alphamill_circuit_open", 1, host, model)


def _workers(samples: _Samples, fleet: Fleet) -> None:
    for view in fleet.workers:
        worker = view.worker
        who = worker.name, worker.pool, worker.host
        samples.add("alphamill_workers", 1, worker.pool, worker.version)
        samples.add("alphamill_worker_heard_seconds", view.heard_s, *who)
        samples.add("alphamill_worker_memory_bytes", worker.memory_bytes, *who)
    if fleet.swept_s is not None:
        samples.add("alphamill_sweep_age_seconds", fleet.swept_s)


def _lives(samples: _Samples, told: Sequence[Condition]) -> None:
    for condition in told:
        for problem in condition.problems:
            samples.add("alphamill_live_problems", 1, condition.market, problem.of)
    states = {live.live: (live, one.at_ms) for one in told for live in one.lives}
    for live, at_ms in states.values():  # two may follow one
        samples.add("alphamill_live_rows", live.rows, live.live, live.market, live.interval)
        samples.add("alphamill_live_behind_seconds", live.behind_s(at_ms), live.live)
        samples.add("alphamill_live_waiting", live.waiting, live.live)
        samples.add("alphamill_live_dead_letters", live.letters, live.live)
        for why, count in (live.parity.counts if live.parity else {}).items():
            samples.add("alphamill_live_values", count, live.live, why)


def _dollars(micros: int) -> str:
    dollars, rest = divmod(abs(micros), 1_000_000)
    return f"{'-' if micros < 0 else ''}{dollars}.{rest:06d}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
