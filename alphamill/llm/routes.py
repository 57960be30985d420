"""From a tier's model to the endpoint that serves it: one client, pace and breaker each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from pydantic import SecretStr

from alphamill.errors import Misconfigured
from alphamill.llm.breaker.memory import MemoryBreaker
from alphamill.llm.breaker.protocol import Breaker, host_of
from alphamill.llm.call import CallGate, Route
from alphamill.llm.endpoint.client import Chat, OpenAIChat
from alphamill.llm.endpoint.dialects import Dialects
from alphamill.llm.endpoint.http import Timeouts
from alphamill.llm.prices import PriceTable
from alphamill.settings import KEY_VARIABLE, Endpoint, LLMSettings, ModelSettings


class OneEndpoint:
    """Every model at one endpoint: tests, notebooks, the control arms. gates: by tier."""

    def __init__(
        self,
        chat: Chat,
        prices: PriceTable,
        gates: Mapping[str, CallGate],
        breaker: Breaker | None = None,
    ) -> None:
        self._chat = chat
        self._prices = prices
        self._gates = gates
        self._breaker = breaker or MemoryBreaker()

    def route(self, tier: str, chosen: ModelSettings) -> Route:
        """See `call.Routes`."""
        price = self._prices.of(chosen)
        gate, effort, more = self._gates[tier], chosen.reasoning_effort, chosen.extra_body
        return Route(chosen.model, price, self._chat, gate, self._breaker, "", effort, more)


class SettingsRoutes:
    """The endpoints of the settings, each opened when it is first asked; safe between threads.

    A run says which model it wants where. Only endpoints that these settings name are asked: a
    message in the queue must not be able to send a key elsewhere.
    gate: of a tier at an address; breaker: of an address and a key; dialects: of an address.
    """

    def __init__(
        self,
        llm: LLMSettings,
        prices: PriceTable,
        gate: Callable[[str, str], CallGate],
        breaker: Callable[[str, SecretStr | None], Breaker],
        dialects: Callable[[str], Dialects] | None = None,
    ) -> None:
        self._make_dialects = dialects
        self._llm = llm
        self._prices = prices
        self._make_gate = gate
        self._make_breaker = breaker
        self._lock = threading.Lock()
        self._allowed = {llm.common, *llm.endpoints}
        self._open: dict[Endpoint, tuple[OpenAIChat, Breaker]] = {}
        self._gates: dict[tuple[str, str], CallGate] = {}

    def route(self, tier: str, chosen: ModelSettings) -> Route:
        """See `call.Routes`."""
        endpoint = self._llm.endpoint(chosen)
        host = host_of(endpoint.url)
        if endpoint not in self._allowed:
            raise Misconfigured(
                f"llm.tiers.{tier}",
                f"the settings of this worker do not name {host} with that key",
                "give all machines the same ALPHAMILL_CONFIG",
            )
        price = self._prices.of(chosen)
        with self._lock:
            if endpoint not in self._open:
                self._open[endpoint] = self._connect(endpoint)
            chat, breaker = self._open[endpoint]
            where = tier, endpoint.url
            if where not in self._gates:
                self._gates[where] = self._make_gate(*where)
        gate, effort, more = self._gates[where], chosen.reasoning_effort, chosen.extra_body
        return Route(chosen.model, price, chat, gate, breaker, host, effort, more)

    def _connect(self, endpoint: Endpoint) -> tuple[OpenAIChat, Breaker]:
        key = self._llm.key(endpoint)
        known = self._make_dialects(endpoint.url) if self._make_dialects else None
        chat = open_chat(self._llm, endpoint, dialects=known)
        return chat, self._make_breaker(endpoint.url, key)


def open_chat(
    llm: LLMSettings,
    endpoint: Endpoint,
    most_s: float = float("inf"),
    dialects: Dialects | None = None,
) -> OpenAIChat:
    """A client of an endpoint of the settings; no wait of it is longer than `most_s`."""
    first_s = llm.first_byte_timeout_s or llm.timeout_s
    waits = (llm.connect_timeout_s, first_s, llm.timeout_s)
    timeouts = Timeouts(*(min(wait_s, most_s) for wait_s in waits))
    key_name = endpoint.key_env or endpoint.key_file or KEY_VARIABLE
    return OpenAIChat(
        endpoint.url,
        llm.key(endpoint),
        timeouts,
        key_name,
        dialects=dialects,
        headers=llm.headers_of(endpoint),
    )
