"""What is asked of the models' endpoints before a run is submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import click

from alphamill.errors import AlphamillError, Misconfigured
from alphamill.llm.endpoint.failures import KeyRefused
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import open_chat
from alphamill.proxies import is_loopback
from alphamill.report.values import plain
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
        click.echo(f"{host} does not list {', '.join(missing)}: see `alphamill models`", err=True)


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
