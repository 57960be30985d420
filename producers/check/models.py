"""`alphamill models`: what the LLM endpoint offers, at what price, and which tier uses it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from alphamill.errors import AlphamillError, Misconfigured
from alphamill.llm.cutoffs import CutoffTable
from alphamill.llm.messages import same_model
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import open_chat
from alphamill.report.terminal.tables import empty_table
from alphamill.report.values import NOTHING, number, plain
from alphamill.settings import Endpoint, LLMSettings, Tier
from producers import options

_TIMEOUT_S = 10.0


@click.command()
@options.json_option
@options.exits
def models(as_json: bool) -> None:
    """List each LLM endpoint's models, their prices and the tiers that use them.

    Where an endpoint has no list, or cannot be reached, the price table's models are shown.

    \b
    Example:
      ALPHAMILL_LLM_URL=http://127.0.0.1:11434/v1 alphamill models
    """
    settings = options.settings()
    reports = [_report(settings.llm, endpoint) for endpoint in settings.llm.endpoints]
    if as_json:
        options.print_json(reports[0] | {"others": reports[1:]})
        return
    for report in reports:
        _show(report, named=len(reports) > 1)


def _show(report: Mapping[str, Any], named: bool) -> None:
    console = Console()
    if named:
        console.print(Text(report["endpoint"], style="bold"))
    if report["problem"]:
        console.print(
            Text(f"{report['problem']}; these are the price table's models", style="yellow")
        )
    table = empty_table("model", "tier", ">input", ">cached", ">output", "as of")
    for row in report["models"]:
        name = Text(plain(row["model"], 60))
        if row["listed"] is False:
            name.append("\n  not offered by the endpoint", style="red")
        table.add_row(
            name,
            Text("\n".join(row["tiers"]) or NOTHING),
            *(Text(_price(row[kind])) for kind in ("input", "cached_input", "output")),
            Text(row["as_of"] or ("no price" if row["input"] is None else NOTHING)),
        )
    console.print(table)
    console.print(Text("prices in USD per million tokens", style="dim"))


def _report(llm: LLMSettings, endpoint: Endpoint) -> dict[str, Any]:
    offered, problem = _offered(llm, endpoint)
    return {
        "endpoint": endpoint.url.rpartition("@")[2],
        "source": "price table" if offered is None else "endpoint",
        "problem": problem,
        "models": _model_rows(llm, endpoint, offered),
    }


def _offered(llm: LLMSettings, endpoint: Endpoint) -> tuple[list[str] | None, str]:
    """What GET /models lists, or None and why not."""
    try:
        client = open_chat(llm, endpoint, _TIMEOUT_S)
    except Misconfigured as error:
        return None, f"the endpoint was not asked: {plain(error, 200)}"
    try:
        names = client.models()
    except AlphamillError as error:
        return None, f"the endpoint gives no list: {plain(error, 200)}"
    finally:
        client.close()
    return (names, "") if names else (None, "the endpoint gives no list: it is empty")


def _model_rows(
    llm: LLMSettings, endpoint: Endpoint, offered: list[str] | None
) -> list[dict[str, Any]]:
    """The models that tiers ask there, then the others that it offers, or that have a price."""
    prices, cutoffs = PriceTable.shipped(llm.prices), CutoffTable.shipped(llm.cutoffs)
    used: dict[str, list[str]] = {
        model: [tier.value for tier in tiers] for model, tiers in llm.endpoints[endpoint].items()
    }
    own = {
        chosen.model: chosen
        for tier in llm.tiers.values()
        for chosen in tier.models
        if chosen.price and llm.endpoint(chosen) == endpoint
    }
    names = sorted(prices.listed) if offered is None else offered
    rows = []
    for name in dict.fromkeys([*used, *names]):
        listed = prices.of(own[name]) if name in own else prices.listed.get(name)
        trained = cutoffs.of(name)
        rows.append(
            {
                "model": name,
                "tiers": used.get(name, []),
                "listed": None if offered is None else offers(offered, name),
                "input": listed.price.input if listed else None,
                "cached_input": listed.price.cached_input if listed else None,
                "output": listed.price.output if listed else None,
                "as_of": listed.price.as_of if listed else "",
                "retires": listed.retires if listed else "",
                "note": listed.note if listed else "",
                "trained_until": trained.until if trained else "",
                "trained_source": trained.source if trained else "",
            }
        )
    return rows


def offers(offered: Iterable[str], model: str) -> bool:
    """Whether a list names the model, give or take a vendor prefix and a version suffix."""
    return any(same_model(model, name) for name in offered)


def not_offered(offered: Iterable[str], models: Mapping[str, Sequence[Tier]]) -> list[str]:
    """Each model that tiers ask for and the list does not name, as TIER: MODEL."""
    names = list(offered)
    return sorted(
        f"{tier}: {model}"
        for model, tiers in models.items()
        for tier in tiers
        if not offers(names, model)
    )


def _price(value: float | None) -> str:
    return NOTHING if value is None else number(value, 3)  # as many digits in each, to compare
