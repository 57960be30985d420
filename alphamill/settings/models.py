"""Settings of language models: tiers, where each of their models is asked, keys, prices, caps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from alphamill.errors import Misconfigured
from alphamill.settings.fields import (
    Count,
    Day,
    Frozen,
    Header,
    Hours,
    Positive,
    Url,
    Usd,
    Variable,
    Word,
)

# How the providers that are no copy of OpenAI's API name the switch of a model's thinking. No other
# field may be added to a request: "n", a tier of service or a plugin would cost what no price says.
_THINKING = (
    "chat_template_kwargs",  # vLLM, SGLang, llama.cpp
    "enable_thinking",  # Qwen, SiliconFlow
    "reasoning",  # OpenRouter
    "thinking",  # DeepSeek, Kimi, GLM, Doubao
    "thinking_budget",  # Qwen, SiliconFlow: tokens
)


def _steers_thinking(name: str) -> str:
    if name not in _THINKING:
        raise ValueError(f"cannot be added to a request; what can: {', '.join(_THINKING)}")
    return name


Plain = bool | int | float | str
ThinkingField = Annotated[str, AfterValidator(_steers_thinking)]

# What the key or the connection sets.
_OWN_HEADERS = {
    "authorization",
    *("host", "content-length", "content-type", "transfer-encoding", "connection"),
}
KEY_VARIABLE = "ALPHAMILL_LLM_API_KEY"  # the common key


class PeakPrice(Frozen):
    """Rates that replace a price's in some hours: "01-04" is from 01:00 up to 04:00 UTC."""

    hours_utc: Annotated[tuple[Hours, ...], Field(min_length=1)]
    weekdays_only: bool = False
    input: Usd
    output: Usd
    cached_input: Usd | None = None  # None: as input
    cache_write: Usd | None = None  # None: as input


class Price(Frozen):
    """USD per million tokens, with the date it was read.

    effective_from: the UTC day from which it holds; "" from ever.
    """

    input: Usd
    output: Usd
    cached_input: Usd | None = None  # None: as input
    cache_write: Usd | None = None  # None: as input
    peak: PeakPrice | None = None
    effective_from: Day | Literal[""] = ""
    as_of: str = ""


def _is_a_day(value: str) -> str:
    if value != "untrained":
        date.fromisoformat(value)  # pydantic says where a ValueError was
    return value


class TrainingCutoff(Frozen):
    """Until which UTC day a model's training data reaches, with where that stands and when read.

    until: the last day, or "untrained" of what read nothing.
    """

    until: Annotated[Day | Literal["untrained"], AfterValidator(_is_a_day)]
    source: str = "settings"
    as_of: Day | Literal[""] = ""


def _as_cutoff(value: object) -> object:
    return {"until": value} if isinstance(value, str) else value


Cutoff = Annotated[TrainingCutoff, BeforeValidator(_as_cutoff)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, dict | Price) else value


# One price, or several that hold from different days on.
Prices = Annotated[tuple[Price, ...], BeforeValidator(_as_list), Field(min_length=1)]


class Tier(StrEnum):
    """Cost tiers of model calls, in the order in which a run uses them."""

    QUICK_SCAN = "quick_scan"
    DETAILED_ANALYSIS = "detailed_analysis"
    FINAL_VERIFICATION = "final_verification"


class ModelSettings(Frozen):
    """A model and where it is asked.

    url: "" the common one, `llm.url`. key_env, key_file: the variable or the file with its key; a
        url of its own without either is sent no key, since the common key is the common url's.
    price: its own, or the name of an entry of the price table; "" the entry of the model's name.
    reasoning_effort: how much it shall think, in the API's word ("none", "low", "high"); "" is not
        sent, and leaves it to the API. Thinking counts as output, within max_tokens.
    extra_body: further fields of the request, as a provider's pages have them for OpenAI's SDK;
        only such as steer thinking: {"enable_thinking": False}.
    """

    model: Annotated[str, Field(min_length=1)]
    url: Url = ""
    key_env: Variable = ""
    key_file: str = ""
    price: str | Prices = ""
    reasoning_effort: Word = ""
    extra_body: dict[ThinkingField, Plain | dict[str, Plain]] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_what_is_not_sent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Runs of older code name neither, and asked again they have their old ids."""
        fields: dict[str, Any] = write(self)
        for name in ("reasoning_effort", "extra_body"):
            if not getattr(self, name):
                fields.pop(name, None)
        return fields


def _as_model(value: object) -> object:
    return {"model": value} if isinstance(value, str) else value


class TierSettings(ModelSettings):
    """One cost tier of LLM calls.

    fallbacks: asked in this order when the model has no quota, is not served or does not answer; a
        name alone is a model at the common endpoint.
    concurrency: calls at a time over all workers. It and the two rates hold at each endpoint that
        the tier uses.
    debit: what the provider takes off its tokens per minute, "allowed" (prompt and
        max_tokens, as OpenAI does) or "used" (prompt and completion).
    """

    fallbacks: tuple[Annotated[ModelSettings, BeforeValidator(_as_model)], ...] = ()
    max_tokens: Count = 800
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    requests_per_minute: Count = 60
    tokens_per_minute: Count = 100_000
    concurrency: Count = 64
    debit: Literal["allowed", "used"] = "allowed"

    @property
    def models(self) -> tuple[ModelSettings, ...]:
        """The tier's model and its fallbacks, in the order in which they are asked."""
        return (self, *self.fallbacks)


_DEFAULT_TIERS: Mapping[Tier, Mapping[str, Any]] = {
    Tier.QUICK_SCAN: {
        "model": "gpt-6-luna",
        "reasoning_effort": "none",
        "max_tokens": 900,
        "temperature": 0.9,
    },
    Tier.DETAILED_ANALYSIS: {
        "model": "gpt-6.1-terra",
        "reasoning_effort": "none",
        "max_tokens": 1200,
        "requests_per_minute": 30,
    },
    Tier.FINAL_VERIFICATION: {
        "model": "gpt-6-luna",
        "reasoning_effort": "none",
        "max_tokens": 400,
        "temperature": 0.0,
    },
}


def _default_for(tier: Tier, given: Mapping[str, Any]) -> dict[str, Any]:
    default = dict(_DEFAULT_TIERS[tier])
    if given.get("model", default["model"]) != default["model"]:
        del default["reasoning_effort"]
    return default


def _default_tiers() -> dict[Tier, TierSettings]:
    return {tier: TierSettings(**fields) for tier, fields in _DEFAULT_TIERS.items()}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An API and whose key it is asked with; both names "" where it is asked without one."""

    url: str
    key_env: str = ""
    key_file: str = ""


class LLMSettings(Frozen):
    """The endpoints of models, the tiers and their prices.

    timeout_s: for a whole reply, from the start; first_byte_timeout_s: None as timeout_s.
    headers: more headers by the endpoint's url, for gateways that ask for some; headers_env: the
        variables that hold their values. Both are as secret as keys, and never part of a run.
    """

    url: str = "https://api.openai.com/v1"
    api_key: SecretStr | None = None
    connect_timeout_s: Positive = 10.0
    first_byte_timeout_s: Positive | None = None
    timeout_s: Positive = 90.0
    patience_s: Positive = 900.0  # how long calls wait for a model that does not answer
    tiers: dict[Tier, TierSettings] = Field(default_factory=_default_tiers)
    prices: dict[str, Prices] = Field(default_factory=dict)  # added to the shipped table
    cutoffs: dict[str, Cutoff] = Field(default_factory=dict)  # likewise, of training data
    headers: dict[Url, dict[Header, SecretStr]] = Field(default_factory=dict)
    headers_env: dict[Url, dict[Header, Variable]] = Field(default_factory=dict)
    _keys: dict[Endpoint, SecretStr] = PrivateAttr(default_factory=dict)
    _header_values: dict[str, SecretStr] = PrivateAttr(default_factory=dict)  # by variable

    @field_validator("api_key")
    @classmethod
    def _looks_like_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        key = value.get_secret_value().strip() if value is not None else ""
        if not could_be_key(key):
            raise ValueError("holds characters that no key has: paste the key again")
        return SecretStr(key) if key else None

    @field_validator("headers", "headers_env")
    @classmethod
    def _are_headers_to_set(cls, value: dict[str, dict[str, Any]]) -> Any:
        for url, headers in value.items():
            for name, text in headers.items():
                if name.lower() in _OWN_HEADERS:
                    raise ValueError(f"{name} of {url} is set by the client itself")
                if isinstance(text, SecretStr) and not could_be_header(text.get_secret_value()):
                    raise ValueError(f"{name} of {url} holds characters that no header has")
        return value

    @field_validator("tiers", mode="before")
    @classmethod
    def _over_the_defaults(cls, value: Any) -> Any:
        """What is not given of a tier, or of all, is the default's; effort is of its own model."""
        if not isinstance(value, dict):
            return value
        tiers: dict[Any, Any] = dict(_DEFAULT_TIERS)
        for name, given in value.items():
            merge = isinstance(given, dict) and name in tiers
            tiers[name] = {**_default_for(name, given), **given} if merge else given
        return tiers

    def endpoint(self, chosen: ModelSettings) -> Endpoint:
        """Where a model is asked."""
        url = (chosen.url or self.url).rstrip("/")
        if chosen.key_env:
            return Endpoint(url, key_env=chosen.key_env)
        if chosen.key_file:
            return Endpoint(url, key_file=chosen.key_file)
        return self.common if url == self.common.url else Endpoint(url)

    @property
    def common(self) -> Endpoint:
        """That of models which name none."""
        return Endpoint(self.url.rstrip("/"), key_env=KEY_VARIABLE)

    @property
    def endpoints(self) -> dict[Endpoint, dict[str, list[Tier]]]:
        """Each distinct endpoint, its models, and the tiers that ask them, in the tiers' order."""
        found: dict[Endpoint, dict[str, list[Tier]]] = {}
        for tier, settings in self.tiers.items():
            for chosen in settings.models:
                tiers = found.setdefault(self.endpoint(chosen), {}).setdefault(chosen.model, [])
                if tier not in tiers:
                    tiers.append(tier)
        return found

    def key(self, endpoint: Endpoint) -> SecretStr | None:
        """The key of an endpoint; None where none is wanted, or the common one is not set.

        Raises Misconfigured where a key is named and not there.
        """
        if endpoint == self.common:
            return self.api_key
        if endpoint in self._keys:
            return self._keys[endpoint]
        if endpoint.key_file:
            return SecretStr(read_key(Path(endpoint.key_file), "key_file"))
        if endpoint.key_env:
            raise Misconfigured(endpoint.key_env, "is not set", "set it to the key of that API")
        return None

    def headers_of(self, endpoint: Endpoint) -> dict[str, SecretStr]:
        """What else is sent there. Raises Misconfigured where a variable is named and not set."""
        found: dict[str, SecretStr] = {}
        for url, headers in self.headers.items():
            if url.rstrip("/") == endpoint.url:
                found |= headers
        for url, variables in self.headers_env.items():
            for name, variable in variables.items():
                if url.rstrip("/") != endpoint.url:
                    continue
                if variable not in self._header_values:
                    raise Misconfigured(variable, "is not set", f"set it to the {name} of {url}")
                found[name] = self._header_values[variable]
        return found

    def with_keys(self, environ: Mapping[str, str]) -> Self:
        """These settings with the keys that their endpoints name, as far as they are there."""
        keys: dict[Endpoint, SecretStr] = {}
        for endpoint in self.endpoints:
            if endpoint.key_env and (key := environ.get(endpoint.key_env, "").strip()):
                if not could_be_key(key):
                    raise Misconfigured(
                        endpoint.key_env, "holds characters that no key has", "paste the key again"
                    )
                keys[endpoint] = SecretStr(key)
        changed = self.model_copy()
        changed._keys = keys  # noqa: SLF001 - its own, just made
        changed._header_values = self._read_headers(environ)  # noqa: SLF001
        return changed

    def _read_headers(self, environ: Mapping[str, str]) -> dict[str, SecretStr]:
        names = {name for variables in self.headers_env.values() for name in variables.values()}
        values = {name: environ.get(name, "").strip() for name in names}
        for name, text in values.items():
            if not could_be_header(text):
                raise Misconfigured(name, "holds characters that no header has", "set it again")
        return {name: SecretStr(text) for name, text in values.items() if text}


class BudgetSettings(Frozen):
    """Hard caps on what models may cost, in US dollars."""

    run_usd: Positive = 1.0
    day_usd: Positive = 10.0


def could_be_key(text: str) -> bool:
    """Whether a header could hold it."""
    return text.isascii() and text.isprintable() and " " not in text


def could_be_header(text: str) -> bool:
    """Whether it is one line that a header could hold."""
    return text.isascii() and text.isprintable()


def read_key(path: Path, setting: str) -> str:
    """The key that a file holds. Raises Misconfigured naming `setting`."""
    try:
        key = path.read_text(encoding="utf-8-sig").strip()  # an editor may mark it
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            setting, f"cannot read {path} ({type(error).__name__})", "name a readable text file"
        ) from None
    if not key:
        raise Misconfigured(setting, f"{path} is empty", "put the key into it")
    if not could_be_key(key):
        raise Misconfigured(setting, f"{path} holds no key", "put the key alone into it")
    return key
