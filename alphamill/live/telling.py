"""A follower tells of itself: in Redis for who asks, and in its log when something changes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from alphamill.clock import Clock
from alphamill.errors import AlphamillError
from alphamill.frames import Market
from alphamill.lake import Lake
from alphamill.live.checked import newest_result
from alphamill.live.complaints import Complaints
from alphamill.live.condition import Condition, Problem
from alphamill.live.followed_live import FollowedLive
from alphamill.live.followers import Followers

_log = logging.getLogger(__name__)


class Telling:
    """Of the follower of a market that holds the lease `name`. who: the process, for people.

    Raises what `Followers` does.
    """

    def __init__(
        self, followers: Followers, market: Market, name: str, who: str, clock: Clock
    ) -> None:
        self._followers, self._clock = followers, clock
        self._market, self._name, self._who = market, name, who
        self._complaints = Complaints(_log, clock)
        self._since: dict[str, int] = {}  # problems: since when, exchange's clock

    def tell(self, problems: Mapping[str, str], lives: Sequence[FollowedLive], now_ms: int) -> None:
        """All that is the matter at `now_ms`, on the exchange's clock."""
        for over in self._since.keys() - problems.keys():
            _log.info("%s: over", over)
            self._complaints.over(over)
        self._since = {of: self._since.get(of, now_ms) for of in problems}
        for of, text in problems.items():
            self._complaints.warn(of, f"{of}: {text}")
        named = (Problem.named(of, text, self._since[of]) for of, text in problems.items())
        skew_ms = self._clock.now_ms() - now_ms
        states = tuple(live.state() for live in lives)
        condition = Condition(self._market.value, self._who, now_ms, skew_ms, states, tuple(named))
        self._followers.tell(self._name, condition)

    def leave(self) -> None:
        """It follows no more."""
        self._since.clear()
        self._followers.leave(self._name)


def read_parity(lake: Lake, lives: Sequence[FollowedLive]) -> None:
    """Have each know what its parity checks came to."""
    for live in lives:
        try:
            live.parity = newest_result(lake, live.entry.id)
        except AlphamillError as error:
            _log.warning("parity of live %s cannot be read: %s", live.entry.id, error)
