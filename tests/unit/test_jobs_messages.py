"""Messages are plain JSON, and one that does not fit is refused."""

import json
from dataclasses import dataclass

import pytest
from pydantic import ValidationError

from alphamill.frames import Interval, Market, Month, months_between
from alphamill.jobs import EvaluateJob, Facts, FetchJob, content_id
from alphamill.settings import Tier


def test_there_and_back():
    job = EvaluateJob(Tier.QUICK_SCAN, Interval.H1, 0, 1, 2)
    assert EvaluateJob.from_message(json.loads(json.dumps(job.to_message()))) == job


@pytest.mark.parametrize("field", ["symbol", "interval", "start_ms"])
def test_a_message_without_a_field_is_refused(field):
    message = FetchJob(Market.SPOT, "AUSDT", Interval.H1, 0, 1).to_message()
    del message[field]
    with pytest.raises(ValidationError, match=field):
        FetchJob.from_message(message)


@dataclass(frozen=True, slots=True)
class Found(Facts):
    key: str
    counts: dict[str, int]
    stopped: str | None = None


def test_facts_lie_flat_and_leave_out_what_is_none():
    assert Found("a", {"parsed": 2}).to_message() == {"key": "a", "parsed": 2}
    assert Found("a", {}, "no budget").to_message() == {"key": "a", "stopped": "no budget"}


def test_ids_depend_on_content_not_on_order():
    assert content_id("a", {"x": 1, "y": 2}) == content_id("a", {"y": 2, "x": 1})
    assert content_id("a", {"x": 1}) != content_id("a", {"x": 2})


def test_months_of_a_range():
    december = Month(2023, 12)
    assert str(december.next()) == "2024-01"
    months = months_between(december.start_ms, december.next().end_ms)
    assert [str(month) for month in months] == ["2023-12", "2024-01"]
    assert months_between(5, 5) == []
