"""What is asked of the models' endpoints before a run is submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import click

from alphamill.clock import SystemClock
from alphamill.errors import AlphamillError, Misconfigured
from alphamill.jobs import RunSpec
from alphamill.language import language_manual
from alphamill.llm.endpoint.failures import KeyRefused
from alphamill.llm.prices import PriceTable
from alphamill.llm.prompts import Feedback, Setting, quick_scan_prompt
from alphamill.llm.routes import open_chat
from alphamill.llm.tokens import bound_tokens
from alphamill.proxies import is_loopback
from alphamill.report.values import plain, usd
from alphamill.settings import KEY_VARIABLE, Endpoint, LLMSettings, Settings, Tier
from producers.check.models import not_offered

_TIMEOUT_S = 10.0


def check_models(settings: Settings) -> None:
    """Refuse settings with which no mining run could ask its models; nothing is asked yet.

    Raises Misconfigured for a model of a tier that has no price, since its calls could not be
    budgeted, and for a missing key, which only an endpoint on this machine may do without.
    """
    llm = settings.llm
    prices = PriceTable.shipped(llm.prices)
    for tier in llm.tiers.values():
        for chosen in tier.models:
            prices.of(chosen)
    for endpoint in llm.endpoints:
        _check_key(llm, endpoint)


def check_budgets(spec: RunSpec, settings: Settings) -> None:
    """Refuse a run whose budget, or a day's, could not pay for a single call of quick_scan.

    What a call may cost is reserved before it is made: the least that a first prompt can be, at the
    cheapest of the tier's models. Raises click.UsageError with the figure.
    """
    prices, tier = PriceTable.shipped(settings.llm.prices), spec.tiers[Tier.QUICK_SCAN]
    setting = Setting(spec.intervals[0].value, spec.strategy, sorted(spec.groups))
    prompt = quick_scan_prompt(
        language_manual(spec.wide), setting, Feedback(), spec.symbols[0], (), {}, spec.candidates
    )
    tokens, now_ms = bound_tokens(prompt), SystemClock().now_ms()
    least = min(
        prices.of(chosen).worst_case_micros(tokens, tier.max_tokens, now_ms)
        for chosen in tier.models
    )
    budgets = {
        "--budget-usd": spec.budget_usd_micros,
        "budget.day_usd": round(settings.budget.day_usd * 1_000_000),
    }
    for name, micros in budgets.items():
        if micros < least:
            raise click.UsageError(
                f"{name} of {usd(micros)} pays for no call: one of quick_scan may cost "
                f"{usd(least)}, which is set aside before it is made"
            )


def ask_models(settings: Settings) -> None:
    """GET /models of each endpoint, with its key, before a run fetches anything.

    Raises Misconfigured for a key that is refused. A model that is not in the list is said, since
    some endpoints serve more than they list; so is what cannot be asked from here, since workers
    may have a network and keys of their own.
    """
    for endpoint, models in settings.llm.endpoints.items():
        _ask_models(settings.llm, endpoint, models)


def _ask_models(llm: LLMSettings, endpoint: Endpoint, models: Mapping[str, Sequence[Tier]]) -> None:
    host, has_key = _host(endpoint.url), llm.key(endpoint) is not None
    client = open_chat(llm, endpoint, _TIMEOUT_S)
    try:
        offered = client.models()
    except KeyRefused as error:
        if has_key:
            raise Misconfigured(
                endpoint.key_env or endpoint.key_file,
                f"{host} refuses the key",
                "set it to a key that is valid there",
            ) from error
        click.echo(f"{host} wants a key: the workers must have it", err=True)
        return
    except AlphamillError as error:
        click.echo(f"{host} was not asked for its models: {plain(error, 160)}", err=True)
        return
    finally:
        client.close()
    if offered and (missing := not_offered(offered, models)):
        click.echo(
            f"{host} does not list {', '.join(missing)}; `alphamill doctor` asks whether it serves "
            "them all the same. A tier's model is set by ALPHAMILL_LLM_QUICK_SCAN_MODEL and its "
            "like, or in the file that ALPHAMILL_CONFIG names (`alphamill models` shows them)",
            err=True,
        )


def _check_key(llm: LLMSettings, endpoint: Endpoint) -> None:
    host = _host(endpoint.url)
    if not host:
        raise Misconfigured(
            "ALPHAMILL_LLM_URL", f"{endpoint.url!r} is not a URL", "write https://host/v1"
        )
    if llm.key(endpoint) is not None or is_loopback(host):
        return
    if endpoint == llm.common:
        raise Misconfigured(KEY_VARIABLE, f"not set, and {host} wants one", "set it to your key")
    raise Misconfigured(
        "llm.tiers", f"{host} wants a key and none is named", "write key_env beside that url"
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
