"""What the models of a run may have read about its bars before they proposed factors on them.

A model that was trained on text of a year may know which coins rose in it. No split of the bars
helps against that: only bars of after its training are new to it. A formula that no model wrote has
read nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from alphamill.evaluation import Segment
from alphamill.llm.journal.records import CallRecord, CallStatus
from alphamill.runs.panels import PanelManifest

UNTRAINED = "untrained"  # of a grammar: there is nothing that it can have read


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model that answered a run, and the last UTC day of its training data.

    until: "" where nothing is known; UNTRAINED. source, as_of: where that stands, and the day on
    which it was read.
    """

    model: str
    until: str = ""
    source: str = ""
    as_of: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> TrainedModel:
        """From run.json."""
        return cls(**{name: str(row.get(name) or "") for name in cls.__slots__})

    @property
    def unread_from_ms(self) -> int | None:
        """About bars that open from then on (UTC, ms) it can have read nothing; None if unknown."""
        if self.until == UNTRAINED:
            return 0
        if not self.until:
            return None
        after = date.fromisoformat(self.until) + timedelta(days=1)
        return round(datetime(after.year, after.month, after.day, tzinfo=UTC).timestamp() * 1000)


def models_that_answered(calls: Iterable[CallRecord]) -> list[str]:
    """Names as the replies state them, in order: of who proposed, and of who reviewed.

    Who may stop a finalist chooses too, and may know the bars that it is judged on.
    """
    answered = {CallStatus.SETTLED, CallStatus.DUPLICATE}
    names = {call.served_model or call.model for call in calls if call.status in answered}
    return sorted(names)


def unread_segments(models: Sequence[TrainedModel], manifest: PanelManifest) -> list[Segment]:
    """Those of validation and holdout that begin after all of the models' training data.

    None if nothing is known of one of the models; both if nobody was asked.
    """
    known = [one.unread_from_ms for one in models]
    if None in known:
        return []
    from_ms = max((one for one in known if one is not None), default=0)
    return [
        segment
        for segment in (Segment.VALIDATION, Segment.HOLDOUT)
        if segment in manifest.segments and first_scored_ms(manifest, segment) >= from_ms
    ]


def first_scored_ms(manifest: PanelManifest, segment: Segment) -> int:
    """Open time of the segment's first bar that counts."""
    facts = manifest.segments[segment]
    return facts.start_ms + (facts.history_bars + facts.embargo_bars) * manifest.interval.ms


def training_to_json(
    models: Sequence[TrainedModel], manifests: Iterable[PanelManifest]
) -> dict[str, Any]:
    """What is known of each model, and which segments are clean at each interval."""
    return {
        "models": [asdict(one) for one in models],
        "clean": {
            manifest.interval.value: [one.value for one in unread_segments(models, manifest)]
            for manifest in manifests
        },
    }
