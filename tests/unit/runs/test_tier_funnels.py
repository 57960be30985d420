"""A funnel counts each candidate once, for the tier that proposed it, and every call once."""

from dataclasses import replace

from alphamill.evaluation import Grade
from alphamill.llm.journal.records import CallStatus
from alphamill.runs.funnel import spending, tier_funnels
from tests import rows

QUICK = replace(rows.TRIAL, call_id="a")
PASSED = rows.figures_of(QUICK, validation={"rank_ic_t": 2.0})
FELL = rows.figures_of(QUICK, validation={"rank_ic_t": -2.0})
CALL = replace(rows.CALL, call_id="a", attempt="a-1", latency_ms=40)


def test_candidates_and_paid_repairs_count_for_the_tier_that_proposed():
    deep = replace(QUICK, tier="detailed_analysis", call_id="b", status="unclean", hash="x")
    calls = [
        CALL,
        replace(CALL, call_id="b", attempt="b-1", tier="detailed_analysis", latency_ms=90),
        replace(CALL, call_id="b.repair", attempt="r-1", latency_ms=10),  # asked by quick_scan
    ]
    quick, detailed, final, total = tier_funnels([PASSED, FELL, deep], [], calls, 1.64)
    assert [one.tier for one in (quick, detailed, final, total)] == [
        "quick_scan",
        "detailed_analysis",
        "final_verification",
        "total",
    ]
    assert (quick.proposed, quick.passed_validation, quick.asked) == (2, 1, 1)
    assert (detailed.proposed, detailed.unclean, detailed.asked) == (1, 1, 2)
    assert (total.asked, total.cost_usd_micros) == (3, 3000)
    assert total.latency_ms == {"p50": 40, "p99": 90}
    assert final.latency_ms == {"p50": 0, "p99": 0}


def test_what_a_rule_smoothed_is_a_trial_and_was_not_proposed():
    variant = replace(PASSED, hash="y", slower_of=QUICK.hash)
    quick, *_, total = tier_funnels([QUICK, variant], [], [CALL], 1.64)
    assert (quick.proposed, quick.parsed, quick.slower, quick.evaluated) == (1, 1, 1, 2)
    assert (quick.passed_validation, total.slower) == (1, 1)


def test_what_may_have_been_billed_counts_towards_the_cost_of_a_factor():
    lost = replace(CALL, attempt="a-2", status=CallStatus.UNKNOWN, error_class="timeout")
    factors = [replace(rows.FACTOR, verdict=grade) for grade in Grade]
    assert spending([CALL, lost]) == (1, 1000, 5000)
    quick, *_ = tier_funnels([QUICK], factors, [CALL, lost], 1.64)
    assert (quick.admitted, quick.cost_per_admitted_usd_micros) == (2, 3000)
    assert (quick.failed_attempts, quick.errors) == (1, {"timeout": 1})


def test_the_providers_price_is_compared_where_it_is_known():
    priced = replace(CALL, provider_cost_usd_micros=130, table_cost_usd_micros=100)
    *_, total = tier_funnels([QUICK], [], [priced, CALL], 1.64)
    assert total.provider_difference_usd_micros == 30
    *_, total = tier_funnels([QUICK], [], [CALL], 1.64)
    assert (total.provider_difference_usd_micros, total.cost_per_admitted_usd_micros) == (None,) * 2
