"""Keeps the leases of the jobs that this process is working on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alphamill.errors import AlphamillError
from alphamill.ledger import Claim, Ledger

_log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews every held claim three times a lease, from one daemon thread a process."""

    def __init__(self, ledger: Ledger, lease_s: float) -> None:
        self._ledger = ledger
        self._pause_s = lease_s / 3
        self._held: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def hold(self, claim: Claim) -> Iterator[Callable[[], bool]]:
        """Renew `claim` until the block ends; gives what tells whether it still holds.

        That is what the last renewal said, and asks nobody.
        """
        with self._lock:
            self._held[claim.token] = claim
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)
                self._thread.start()
        try:
            yield lambda: claim.token in self._held
        finally:
            with self._lock:
                self._held.pop(claim.token, None)

    def _renew(self) -> None:
        waiting = threading.Event()
        while not waiting.wait(self._pause_s):
            with self._lock:
                held = list(self._held.values())
            for claim in held:
                self._renew_one(claim)

    def _renew_one(self, claim: Claim) -> None:
        try:
            if not self._ledger.renew(claim):
                # Somebody else has the job, or the run was cancelled; FINISH will be refused.
                with self._lock:
                    self._held.pop(claim.token, None)
        except AlphamillError as error:
            _log.warning("lease of %s not renewed: %s", claim.job, error)
