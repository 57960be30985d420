"""Costs by hand: tokens times the price per million, rounded up a request."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from alphamill.errors import Misconfigured
from alphamill.llm.messages import TokenUsage
from alphamill.llm.prices import PriceTable
from alphamill.settings import LLMSettings, Price, Settings, Tier, TierSettings
from producers.check.cost import Plan, cost, planned_cost

PRICED = {
    "cheap": Price(input=1.0, cached_input=0.1, output=10.0, as_of="2026-01-01"),
    "dear": Price(input=10.0, output=100.0, as_of="2026-02-02"),
}


def settings(verifier="cheap"):
    tiers = {
        Tier.QUICK_SCAN: TierSettings(model="cheap", max_tokens=1000),
        Tier.DETAILED_ANALYSIS: TierSettings(model="dear", max_tokens=500),
        Tier.FINAL_VERIFICATION: TierSettings(model=verifier, max_tokens=100),
    }
    return Settings(llm=LLMSettings(tiers=tiers, prices=PRICED))


def test_a_planned_run_by_hand():
    tokens = TokenUsage(prompt=1000, cached=500, completion=200)
    plan = Plan(symbols=10, rounds=3, candidates=8, intervals=2)
    planned = planned_cost(plan, settings(), PriceTable.shipped(PRICED), tokens)
    quick, detailed, final = planned["tiers"]
    assert [row["calls"] for row in planned["tiers"]] == [60, 6, 2]
    assert planned["candidates"] == 480
    # 500 fresh at 1 + 500 cached at 0.1 + 200 written at 10 micro-dollars a token
    assert quick["expected_usd_micros"] == 60 * (500 + 50 + 2000)
    assert quick["most_usd_micros"] == 60 * (1000 + 1000 * 10)
    # no cached price: cached tokens cost as fresh ones do
    assert detailed["expected_usd_micros"] == 6 * (1000 * 10 + 200 * 100)
    assert detailed["most_usd_micros"] == 6 * (1000 * 10 + 500 * 100)
    # a reply is never expected to be longer than the tier allows
    assert final["expected_usd_micros"] == 2 * (500 + 50 + 1000)
    assert planned["most_usd_micros"] == 660_000 + 360_000 + 2 * 2000
    assert detailed["as_of"] == "2026-02-02"


def test_an_unpriced_tier_names_the_setting():
    plan = Plan(symbols=1, rounds=1, candidates=1, intervals=1)
    with pytest.raises(Misconfigured, match=r"llm\.prices.*unheard-of"):
        planned_cost(plan, settings("unheard-of"), PriceTable.shipped(PRICED), TokenUsage(1, 0, 1))


def invoke(*arguments, columns="80"):
    env = {"ALPHAMILL_CONFIG": None, "ALPHAMILL_LLM_URL": None, "COLUMNS": columns}
    return CliRunner(env=env).invoke(cost, arguments)


def test_every_priced_model_at_three_volumes():
    result = invoke(
        "--json", "--prompt-tokens", "1000", "--completion-tokens", "100", "--cached-frac", "0.5"
    )
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert {row["model"] for row in told["models"]} == set(PriceTable.shipped().listed)
    row = next(row for row in told["models"] if row["model"] == "gpt-4.1-mini")
    each = 500 * 0.4 + 500 * 0.1 + 100 * 1.6
    assert row["request_usd_micros"] == each
    assert row["usd_micros"] == {"10000": each * 1e4, "100000": each * 1e5, "1000000": each * 1e6}
    assert row["as_of"]
    assert told["plan"] is None


@pytest.mark.parametrize("columns", ["80", "160"])
def test_the_tables_fit_and_state_dates_and_the_cap(columns):
    result = invoke("--symbols", "500", "--rounds", "20", columns=columns)
    assert result.exit_code == 0
    assert "…" not in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= int(columns)
    assert "price of" in result.stdout
    text = " ".join(result.stdout.split())
    assert "stops the run at $1, which may be before its last call" in text
    assert "80,000 candidates" in text


def test_impossible_numbers_are_wrong_usage():
    assert invoke("--cached-frac", "1.5").exit_code == 2
    assert invoke("--symbols", "0").exit_code == 2
