"""What a resumed run may spend, and whether that pays for what its budget left out.

Everything is refused here that would only stop again: to judge a run anew costs looks at its
holdout.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import click
import redis

from alphamill.errors import GiveUp
from alphamill.jobs import RunKind
from alphamill.lake import Lake
from alphamill.ledger import JobState, Ledger, RunRecord, RunState
from alphamill.llm.journal.budget import BudgetState, utc_day
from alphamill.llm.journal.redis import RedisJournal
from alphamill.report.values import elapsed
from alphamill.runs.failures import group_unasked
from alphamill.runs.finished import published_run
from alphamill.runs.unfunded import Shortfall, dollars, shortfall
from alphamill.settings import Settings
from workers import flows


def resume_run(
    run: RunRecord,
    ledger: Ledger,
    client: redis.Redis,
    settings: Settings,
    budget_usd_micros: int | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> RunRecord:
    """Go on with a run, with a higher budget if one is given; may be repeated, also half way.

    A run that is active keeps going, and may spend more from now on. say: is told what happens.
    Raises GiveUp, with the figures, for a budget that is not higher, is spent already or pays for
    nothing, and for a day's budget that has no room; click.UsageError for a run without models.
    """
    purse = Purse.of(run, ledger, client, settings)
    wanted = budget_usd_micros
    if wanted is not None:
        purse.check_raise(wanted)
        raised = ledger.raise_budget(run.id, wanted)
        if raised.raises != run.raises:
            was, now = (dollars(one.budget_usd_micros) for one in (run, raised))
            say(f"its budget is raised from ${was} to ${now}")
        purse = replace(purse, run=raised)
    if run.state.active:
        if purse.short:
            say(
                f"it is {run.state}; what was left out so far can be asked once it has ended: "
                f"alphamill resume {run.id}"
            )
        return flows.resume(run.id, ledger)
    refused = purse.why_not() if purse.short else ""
    if refused and not _has_more_to_do(run):
        raise GiveUp(refused)
    if refused:
        say(refused)
    elif purse.short:
        RedisJournal(client).reopen(run.id)
        calls = "1 model call" if purse.short.calls == 1 else f"{purse.short.calls} model calls"
        say(f"{calls} left out and all that came after go back; nothing is paid twice")
        if purse.short.enough_usd_micros > purse.run.budget_usd_micros:
            say(f"all of them may cost more than is left; enough for all: {purse.short.command}")
    elif run.whole:
        say("it is done and nothing was left out")
    _note_in_lake(run, purse.now_ms)
    return flows.resume(run.id, ledger, unfunded=not refused)


def _note_in_lake(run: RunRecord, now_ms: int) -> None:
    """Whoever reads what the run published before shall know that it is being judged anew."""
    published = None if run.whole else published_run(Lake(run.spec["lake"]), run.id)
    if published is not None:
        published.put_back(now_ms)


@dataclass(frozen=True, slots=True)
class Purse:
    """A run's money and the day's; least: the cheapest of the calls that were left out."""

    run: RunRecord
    accounts: BudgetState
    day_usd_micros: int
    found: Shortfall | None
    least_usd_micros: int
    now_ms: int

    @classmethod
    def of(cls, run: RunRecord, ledger: Ledger, client: redis.Redis, settings: Settings) -> Purse:
        """As it stands now; jobs are read only if a budget stopped any."""
        now_ms = int(time.time() * 1000)
        accounts = RedisJournal(client).state(run.id, utc_day(now_ms))
        results = [
            (job.stage, job.result)
            for job in (ledger.jobs(run.id) if run.unfunded else ())
            if job.result and job.result.get("unfunded")
        ]
        committed = accounts.run.committed_usd_micros
        return cls(
            run,
            accounts,
            round(settings.budget.day_usd * 1_000_000),
            shortfall(run.id, group_unasked(results), run.budget_usd_micros, committed),
            min((int(one.get("needs_usd_micros") or 0) for _, one in results), default=0),
            now_ms,
        )

    @property
    def short(self) -> Shortfall | None:
        """What was left out, measured against the budget as it is."""
        return self.found and replace(self.found, budget_usd_micros=self.run.budget_usd_micros)

    def check_raise(self, usd_micros: int) -> None:
        """Refuse a budget that could not be meant. The ledger refuses one that is not higher."""
        run, spent = self.run, self.accounts.run.committed_usd_micros
        if run.kind != RunKind.MINE:
            raise click.UsageError(f"{run.id} is a {run.kind} run: it asks no model")
        again = bool(run.raises) and usd_micros == run.budget_usd_micros
        if run.whole and not again:
            raise GiveUp(
                f"{run.id} is done, and its budget of ${dollars(run.budget_usd_micros)} kept "
                "nothing from being asked; for more rounds submit a run with --rounds"
            )
        if usd_micros < spent:
            raise GiveUp(
                f"${dollars(usd_micros)} is less than the ${dollars(spent)} that {run.id} has "
                f"spent and set aside already; its budget is ${dollars(run.budget_usd_micros)}"
            )
        if not again and self.found and usd_micros > run.budget_usd_micros:
            if usd_micros - spent < self.least_usd_micros:
                raise GiveUp(
                    f"${dollars(usd_micros)} pays for no call: ${dollars(spent)} is spent and set "
                    f"aside, and the least that was left out may cost "
                    f"${dollars(self.least_usd_micros)}; {self.found.advice}"
                )
            if refused := self._why_not_today():
                raise GiveUp(refused)

    def why_not(self) -> str:
        """Why it would only stop again, and what to do; "" if a call can be made."""
        short, budget = self.short, self.run.budget_usd_micros
        left = budget - self.accounts.run.committed_usd_micros
        if short is not None and left < self.least_usd_micros:
            return (
                f"its budget of ${dollars(budget)} has ${dollars(max(0, left))} left and the least "
                f"of {short.calls:,} calls left out may cost ${dollars(self.least_usd_micros)}; "
                f"{short.advice}"
            )
        return self._why_not_today()

    def _why_not_today(self) -> str:
        left = self.day_usd_micros - self.accounts.day.committed_usd_micros
        hours = self.run.spec.get("search", {}).get("max_hours")
        if hours is not None and self.now_ms - self.run.created_ms >= hours * 3_600_000:
            return (
                f"{self.run.id} is older than search.max_hours ({hours:g} h), which would stop "
                "every call; submit it anew with --again"
            )
        if left >= self.least_usd_micros:
            return ""
        now = datetime.fromtimestamp(self.now_ms / 1000, UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return (
            f"today's budget of ${dollars(self.day_usd_micros)} (budget.day_usd) has "
            f"${dollars(max(0, left))} left and the least of the calls left out may cost "
            f"${dollars(self.least_usd_micros)}; resume it from 00:00 UTC on, in "
            f"{elapsed((midnight - now).total_seconds())}, or raise budget.day_usd, for the "
            "workers too"
        )


def _has_more_to_do(run: RunRecord) -> bool:
    """Whether jobs were cancelled, or failed for another reason than that models were not asked."""
    dead = {stage for stage, states in run.counts.items() if states.get(JobState.DEAD)}
    return run.state is RunState.CANCELLED or bool(dead - {"publish"})
