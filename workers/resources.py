"""What a worker process opens once, when first asked, and after the fork."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property

from pydantic import SecretStr

from alphamill.errors import GiveUp
from alphamill.fleet.identity import build
from alphamill.flow import plan
from alphamill.frames import Market
from alphamill.jobs import RunSpec
from alphamill.ledger import BudgetRaise, JobRecord, Ledger, RedisLedger
from alphamill.ledger.presence import Presence
from alphamill.limits import TierGate, tier_pool
from alphamill.llm.breaker.redis import RedisBreaker
from alphamill.llm.cutoffs import CutoffTable
from alphamill.llm.endpoint.dialects import RedisDialects
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import Message
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import SettingsRoutes
from alphamill.runs.builds import Share, shares
from alphamill.runs.failures import Unasked, group_unasked
from alphamill.runs.schemas import RunDeps
from alphamill.settings import Tier, load_settings
from alphamill.stages.registry import STAGES
from alphamill.usage import RedisUsage
from alphamill.usage.bars import BarCounters
from workers.connections import MAX_WAIT_S, Connections
from workers.leases import LeaseKeeper
from workers.notify import Notifier

_SETTLE_S = 20.0


class Resources(Connections):
    """Connections, and what jobs need beside them: ledger, journal, gateway to models."""

    @cached_property
    def ledger(self) -> Ledger:
        return RedisLedger(self.redis, self.settings.ledger)

    @cached_property
    def leases(self) -> LeaseKeeper:
        return LeaseKeeper(self.ledger, self.settings.ledger.lease_s)

    @cached_property
    def journal(self) -> RedisJournal:
        return RedisJournal(self.redis)

    @cached_property
    def usage(self) -> RedisUsage:
        return RedisUsage(self.redis)

    @cached_property
    def notifier(self) -> Notifier:
        return Notifier(self.redis, self.settings)

    @cached_property
    def bars(self) -> BarCounters:
        return BarCounters(self.redis)

    def spec(self, run_id: str) -> RunSpec:
        """What the run asked for. Raises GiveUp for a run that was forgotten."""
        run = self.ledger.run(run_id)
        if run is None:
            raise GiveUp(f"the ledger does not know run {run_id}")
        return RunSpec.from_message(run.spec)

    def count(self, run_id: str, market: Market, landed: Mapping[str, int]) -> None:
        """For whoever watches the run: add what a job of its market data did."""
        # The limit is known once the exchange was asked for anything.
        limit = self.exchange(market).weight_limit() if landed["requests"] else 0
        self.bars.add(run_id, landed, limit, self.clock.now_ms())

    def age_s(self, run_id: str) -> float:
        run = self.ledger.run(run_id)
        return (self.clock.now_ms() - run.created_ms) / 1000 if run else 0.0

    def dead(self, run_id: str) -> Iterable[JobRecord]:
        return self.ledger.dead(run_id)

    def unasked(self, run: RunDeps) -> list[Unasked]:
        asking = [job for job in plan(run.spec) if STAGES[job.stage].asks_models]
        return group_unasked(
            (job.stage, self.ledger.result(run.run_id, job.id) or {}) for job in asking
        )

    def calls(self, run_id: str) -> Iterable[CallRecord]:
        return self.journal.calls(run_id)

    def builds(self, run_id: str) -> list[Share]:
        run, own = self.ledger.run(run_id), build()
        if run is None:
            return []
        known = Presence(self.redis).builds([*run.builds, own.label])
        return shares(run, known, also=own.label)

    def prompt(self, record: CallRecord) -> Sequence[Message]:
        return self.journal.prompt(record)

    def raises(self, run_id: str) -> Sequence[BudgetRaise]:
        run = self.ledger.run(run_id)
        return run.raises if run else ()

    @property
    def day_budget_usd_micros(self) -> int:
        return int(self.settings.budget.day_usd * 1_000_000)

    @property
    def cutoffs(self) -> CutoffTable:
        return CutoffTable.shipped(self.settings.llm.cutoffs)

    @cached_property
    def gateway(self) -> Gateway:
        llm = self.settings.llm
        prices = PriceTable.shipped(llm.prices)
        routes = SettingsRoutes(llm, prices, self._tier_gate, self._breaker, self._dialects)
        return Gateway(routes, prices, self.journal, self.usage, self.clock, llm.patience_s)

    def _tier_gate(self, tier: str, url: str) -> TierGate:
        llm = self.settings.llm
        # Past the end of any call: the wait for its turn, to connect, the reply, to settle.
        lease_s = MAX_WAIT_S + llm.connect_timeout_s + llm.timeout_s + _SETTLE_S
        pool = tier_pool(tier, url, llm.tiers[Tier(tier)], lease_s)
        return TierGate(self.limiter, pool, MAX_WAIT_S)

    def _breaker(self, url: str, key: SecretStr | None) -> RedisBreaker:
        return RedisBreaker(self.redis, url, self.clock, key)

    def _dialects(self, url: str) -> RedisDialects:
        return RedisDialects(self.redis, url, self.clock)


@cache
def _of_process(_pid: int) -> Resources:
    return Resources(load_settings())


def resources() -> Resources:
    """This process's own; a forked child opens its own connections."""
    return _of_process(os.getpid())
