"""Waiting for a slot: sleep, ask again, and never trust a slot that was slept on."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from alphamill.clock import Clock
from alphamill.errors import RetryLater
from alphamill.limits.protocol import Pool, Slot

AHEAD_S = 1.0  # a slot further away is not booked: a pause or a correction could not reach it
NAP_S = 1.0  # asks again at least this often, since a correction may free a slot sooner
BUSY_MS = 50.0  # a slot at a time may end any moment: how soon to look again
BUSY_RETRY_S = 1.0  # who has waited long enough for one comes back after this


@dataclass(frozen=True, slots=True)
class Booking:
    """A store's answer. Not granted: nothing was booked, and `wait_s` says when to expect room.

    wait_s: from the moment of booking to the slot.
    send_within_s: from the moment of booking to the last safe moment to send; None: any time.
    busy: all slots at a time are taken; nobody knows until when.
    """

    granted: bool
    wait_s: float
    at_ms: float
    send_within_s: float | None
    windows: Mapping[str, int]
    token: str
    reason: str
    busy: bool = False


class Store(Protocol):
    """Where slots are booked, each call one atomic step."""

    def book(self, pool: Pool, costs: Mapping[str, float], ahead_s: float) -> Booking:
        """Book the first slot that is at most `ahead_s` away."""

    def paused_s(self, pool: Pool) -> float:
        """Seconds until the pause ends; 0 if there is none."""

    def give_back(self, pool: Pool, token: str) -> None:
        """End a slot at a time that no call was made in; what else it booked stays booked."""


def wait_for_slot(
    store: Store, clock: Clock, pool: Pool, costs: Mapping[str, float], max_wait_s: float
) -> Slot:
    """Book, sleep until the slot, and book again if a pause or a late wake-up has voided it.

    A voided slot stays booked in rates and windows: it can only make the pool a little emptier
    than it need be.
    """
    costs = pool.costs(costs)
    started_s = clock.monotonic_s()
    while True:
        asked_s = clock.monotonic_s()
        left_s = max(0.0, started_s + max_wait_s - asked_s)
        booking = store.book(pool, costs, min(AHEAD_S, left_s))
        if not booking.granted:
            if booking.wait_s > left_s:
                after_s = max(booking.wait_s, BUSY_RETRY_S) if booking.busy else booking.wait_s
                raise RetryLater(f"{pool.name}: {booking.reason}", after_s, counts=False)
            clock.sleep(_nap_s(booking))
            continue
        if booking.wait_s > 0:
            clock.sleep(booking.wait_s)
            if store.paused_s(pool) > 0:
                store.give_back(pool, booking.token)
                continue
        now_s = clock.monotonic_s()
        if booking.send_within_s is None or now_s - asked_s <= booking.send_within_s:
            waited_s = now_s - started_s
            return Slot(pool, costs, booking.windows, booking.at_ms, waited_s, booking.token)
        store.give_back(pool, booking.token)


def _nap_s(booking: Booking) -> float:
    longest_s = booking.wait_s if booking.busy else 0.4
    jitter_s = random.uniform(0.02, max(0.02, longest_s))  # noqa: S311 - spreads the askers
    return min(max(booking.wait_s - AHEAD_S, 0.0), NAP_S) + jitter_s
