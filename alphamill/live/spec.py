"""What a live follows. Its id is a hash of what it asks for: started twice, it is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alphamill.evaluation import Rebalancing
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import Message, content_id

RELEASE_S = 2.0
QUORUM = 0.8
CORRECT_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Followed(Message):
    """A factor that is followed.

    expression: canonical, turned so that a high value is to be held; `factor` is its hash.
    horizon_bars: bars that a signal is held for. run: where it was judged, "" for one by hand.
    promised_ic: RankIC of the segment named in `promised_on`, None where none was judged.
    """

    expression: str
    factor: str
    horizon_bars: int = 1
    run: str = ""
    verdict: str = ""
    promised_ic: float | None = None
    promised_on: str = ""


@dataclass(frozen=True, slots=True)
class LiveSpec(Message):
    """All that determines what a live publishes of given bars.

    release_ms: how long after a bar's close its cross-section waits for symbols. quorum: share of
    `symbols` that must be there, above 0 and at most 1. correct_within_ms: how long after the close
    a late bar still gives a revision. weighting, quantiles, band, hold_bars: as in `[portfolio]`,
    the last two of the forward book alone: what is published are targets. universe: the rule by
    which `symbols` belong, and members_of the month of which they are ("2026-12"); "" for names.
    """

    market: Market
    interval: Interval
    symbols: tuple[str, ...]
    factors: tuple[Followed, ...]
    release_ms: int = round(RELEASE_S * 1000)
    quorum: float = QUORUM
    correct_within_ms: int = round(CORRECT_WITHIN_S * 1000)
    weighting: str = "rank"
    quantiles: int = 5
    universe: str = ""
    members_of: str = ""
    band: float = 0.0
    hold_bars: int = 0

    def __post_init__(self) -> None:
        if not self.symbols or not self.factors:
            raise ValueError("a live needs symbols and factors")
        for what, names in (
            ("symbol", self.symbols),
            ("factor", [followed.factor for followed in self.factors]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"a {what} is named twice")
        Rebalancing(self.band, self.hold_bars)  # raises for what is none
        if not 0 < self.quorum <= 1:
            raise ValueError(f"quorum {self.quorum:g} is not above 0 and at most 1")
        if self.release_ms < 0:
            raise ValueError(f"release_ms {self.release_ms} is below 0")
        if self.correct_within_ms < self.release_ms:
            raise ValueError(
                f"correct_within_ms {self.correct_within_ms} is below release_ms "
                f"{self.release_ms}: a bar that comes before the release is not late"
            )

    def to_message(self) -> dict[str, Any]:
        """Plain JSON values; of named symbols the same, and so the same id, as ever."""
        message = Message.to_message(self)
        for name in ("band", "hold_bars"):
            if not message[name]:
                del message[name]
        if not self.universe:
            del message["universe"], message["members_of"]
        return message

    @property
    def holds_until_ms(self) -> int | None:
        """When another month's members take over, whom this live does not follow; None of names."""
        return Month.parse(self.members_of).end_ms if self.members_of else None

    @property
    def id(self) -> str:
        """For example "live-3f0c9a5d2b7e4c11"."""
        return content_id("live", self.to_message())
