"""Reading what a provider says when it refuses: bodies of many shapes, waits in many units."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from alphamill.llm.endpoint.failures import (
    AccessRefused,
    CallFailure,
    ContextTooLong,
    EndpointNotFound,
    KeyRefused,
    ModelNotFound,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    RegionBarred,
    RequestRefused,
    RequestTooLarge,
    ServerFailed,
)

DEFAULT_WAIT_S = 5.0
MAX_WAIT_S = 3600.0

_PASSED_ON = "llm_provider-"

_QUOTA = {
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
}
_CONTEXT = re.compile(
    r"context_length_exceeded|exceed_context_size|context (length|window|size)|prompt is too long",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"api[ _]key[ _](not valid|invalid)|invalid[ _]api[ _]key"
    r"|no_db_connection|no connected db",  # LiteLLM without a database, of any key but its own
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"model_not_found|not a valid model|unknown model|no such model|invalid model"
    r"|no healthy deployments|no endpoints found for"  # LiteLLM, OpenRouter
    r"|model\b.{0,120}?\b(not found|not exist|does not exist|not supported)"
    r"|model\b(?:(?!\. ).){0,120}?\b(no longer (available|supported|accessible|served|offered)"
    r"|been (deprecated|retired|shut ?down|discontinued|decommissioned))",
    re.IGNORECASE,
)
# Gateways that word an error anew lose its code and keep its text.
_NO_MONEY = re.compile(
    r"insufficient[_ ](quota|balance|credit|funds)|exceeded(_| your )current[_ ]quota"
    r"|credit balance is too low|billing[_ ]hard[_ ]limit",
    re.IGNORECASE,
)
# Of these words none is of a limit that passes.
_NO_MONEY_FOR_GOOD = re.compile("|".join(sorted(_QUOTA)), re.IGNORECASE)
_NO_REGION = re.compile(
    r"unsupported_country|(country|region|territory|location)\b.{0,60}\bnot (supported|available)"
    r"|not (supported|available|allowed) (in|from) (your|this|unsupported) "
    r"(countr|region|territor|location)",
    re.IGNORECASE,
)
_NO_HEADER = re.compile(
    r"\bheaders?\b.{0,40}\b(is|are) (required|missing)|missing.{0,40}\bheader", re.IGNORECASE
)
_TOO_LARGE = re.compile(
    r"\blimit:?\s*(\d[\d,]*)\b.{0,80}?\brequested:?\s*(\d[\d,]*)", re.IGNORECASE | re.DOTALL
)
# Said by the API of itself; a status in words ("Service Unavailable") may be any proxy's.
_OVERLOADED = re.compile(
    r"overload|capacity|busy|loading|high demand|too many|try again", re.IGNORECASE
)
_PAGE = re.compile(r"<(!doctype|html|head|body|title|center|h1)\b", re.IGNORECASE)
_WAIT_IN_WORDS = re.compile(
    r"(?:try again|retry|retrydelay|wait)\W+(?:after |in |for |about )*"
    r"((?:\d+(?:\.\d+)?\s*"
    r"(?:ms|milliseconds?|d|days?|h|hours?|m|minutes?|s|seconds?)(?![a-z])[\s,]*)+)",
    re.IGNORECASE,
)
_WORDED = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|d|h|m|s)[a-z]*", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_UNIT_S = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class ProviderError:
    """One refusal. `structured` when the body was the API's own JSON, not some proxy's page."""

    status: int  # HTTP status, or the one that an error inside HTTP 200 states
    code: str = ""
    type: str = ""
    param: str = ""
    message: str = ""
    wait_s: float | None = None  # as the provider asks
    structured: bool = False

    @property
    def text(self) -> str:
        """All that was said, for matching."""
        return f"{self.code} {self.type} {self.param} {self.message}"

    @property
    def about_length(self) -> bool:
        """Whether the prompt is too long for the model, whatever fields that names."""
        return _CONTEXT.search(self.text) is not None

    @property
    def summary(self) -> str:
        """One short line for a person."""
        words = " ".join((self.message or self.code or self.type or "no reason given").split())
        return f"HTTP {self.status}: {words[:300]}"


def read_error(status: int, body: bytes, headers: Mapping[str, str], now_ms: int) -> ProviderError:
    """From any response that is not a completion; never raises."""
    wait_s = read_wait_s(headers, now_ms)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ProviderError(status, message=body[:300].decode("utf-8", "replace"), wait_s=wait_s)
    found = _error_object(value)
    if found is None:
        return ProviderError(status, message=str(value)[:300], wait_s=wait_s)
    code = _plain(found.get("code"))
    kind = _plain(found.get("type")) or _plain(found.get("status"))
    inner = _status_within(code, kind) if status == 200 else status
    message = _plain(found.get("message")) or _plain(found.get("detail"))
    if wait_s is None:
        wait_s = _wait_in_body(found)
    if wait_s is None:
        wait_s = wait_in_words(message)
    return ProviderError(
        status=inner,
        code=code,
        type=kind,
        param=_plain(found.get("param")),
        message=message,
        wait_s=wait_s,
        structured=True,
    )


def classify(
    error: ProviderError, model: str, key_name: str = "ALPHAMILL_LLM_API_KEY"
) -> CallFailure:
    """The failure that says what to do next. key_name: the setting that holds the key."""
    if error.status < 500 and (sizes := _too_large(error)):
        return _request_too_large(error, model, *sizes)
    no_money = error.status in (400, 403) and _NO_MONEY.search(error.text)  # Anthropic says 400
    if error.status in (402, 429) or no_money:
        return _exhausted(error)
    about_access = _BAD_KEY.search(error.text) or _NO_REGION.search(error.text)
    if error.status in (401, 403) or (error.status in (400, 404, 451) and about_access):
        return _access(error, key_name)
    if error.status < 500 and error.status not in (200, 408):
        return _bad_request(error, model)
    wait_s = DEFAULT_WAIT_S if error.wait_s is None else error.wait_s
    # A proxy may say 503 for a connection that broke half-way, and a gateway may put its page into
    # JSON; only the API's own words are trusted.
    own_words = error.structured and not _PAGE.search(error.message)
    if error.status in (503, 529) and own_words and _OVERLOADED.search(error.text):
        return Overloaded(f"the server is overloaded ({error.summary})", wait_s)
    return ServerFailed(f"the server failed ({error.summary})", wait_s)


def _access(error: ProviderError, key_name: str) -> CallFailure:
    """401, 403, and a 400, 404 or 451 that is about a key or a region."""
    if _NO_REGION.search(error.text):
        problem = f"the provider does not serve this region ({error.summary})"
        cure = "ask from a region that it serves, or name another endpoint"
        return RegionBarred("ALPHAMILL_LLM_URL", problem, cure)
    kind = AccessRefused if error.status == 403 else KeyRefused
    problem = f"the endpoint refused the key ({error.summary})"
    return kind(key_name, problem, "set a key that is valid there and for the model")


def _exhausted(error: ProviderError) -> CallFailure:
    """402 and 429: too much for now, or no money left. OpenRouter says when credits are to come."""
    for_good = error.status == 402 or _NO_MONEY_FOR_GOOD.search(error.text)
    if for_good and not (error.status == 402 and error.wait_s is not None):
        return QuotaExhausted(f"the account has no money left ({error.summary})")
    # Gemini says the same words of a passing limit, and then how long to wait.
    if error.wait_s is None and _NO_MONEY.search(error.text):
        return QuotaExhausted(f"the account has no money left ({error.summary})")
    wait_s = DEFAULT_WAIT_S if error.wait_s is None else error.wait_s
    return RateLimited(f"rate limited ({error.summary})", wait_s, counts=False)


def _too_large(error: ProviderError) -> tuple[int, int] | None:
    """The limit and what was requested, where one request alone is above it."""
    found = _TOO_LARGE.search(error.message)
    if found is None:
        return None
    limit, requested = (int(number.replace(",", "")) for number in found.groups())
    return (limit, requested) if requested > limit else None


def _request_too_large(
    error: ProviderError, model: str, limit: int, requested: int
) -> RequestTooLarge:
    return RequestTooLarge(
        f"one request takes {requested} tokens and the account's limit at {model} is {limit}: "
        f"lower max_tokens or have the limit raised ({error.summary})"
    )


def _bad_request(error: ProviderError, model: str) -> CallFailure:
    if error.about_length:
        return ContextTooLong(f"the prompt is too long for {model} ({error.summary})")
    if _NO_MODEL.search(error.text):
        return ModelNotFound(
            "llm.tiers.*.model",
            f"the endpoint does not serve {model!r} ({error.summary})",
            "name a model that GET /models lists (`alphamill models`)",
        )
    if error.status in (301, 302, 303, 307, 308, 404, 405):
        return EndpointNotFound(
            "ALPHAMILL_LLM_URL",
            f"no chat completions there ({error.summary})",
            "give the base URL up to and including its version, such as https://host/v1",
        )
    cure = ": set it under [llm.headers]" if _NO_HEADER.search(error.text) else ""
    return RequestRefused(f"the endpoint refused the request ({error.summary}){cure}")


def read_wait_s(headers: Mapping[str, str], now_ms: int) -> float | None:
    """Seconds to wait by Retry-After (seconds or a date), else by the limit that is used up.

    LiteLLM passes the provider's on under a prefix.
    """
    named = {name.lower(): value.strip() for name, value in headers.items()}
    lower = {name.removeprefix(_PASSED_ON): value for name, value in named.items()} | named
    if "retry-after-ms" in lower and (ms := _number(lower["retry-after-ms"])) is not None:
        return _bounded(ms / 1000)
    if "retry-after" in lower and (wait := _retry_after(lower["retry-after"], now_ms)) is not None:
        return _bounded(wait)
    waits = []
    for kind in ("-requests", "-tokens", ""):
        reset = lower.get(f"x-ratelimit-reset{kind}")
        spent = lower.get(f"x-ratelimit-remaining{kind}", "0") in ("0", "")
        if reset and spent and (wait := _reset(reset, now_ms)) is not None:
            waits.append(wait)
    return _bounded(max(waits)) if waits else None


def read_duration_s(text: str) -> float | None:
    """Seconds of "6m0s", "12ms", "1h2m", "20" (seconds); None if it is no duration."""
    if (plain := _number(text)) is not None:
        return plain
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def wait_in_words(text: str) -> float | None:
    """Seconds of "try again in 7h12m3s" or "retry after 20 seconds" in a sentence; None if none."""
    found = _WAIT_IN_WORDS.search(text)
    if found is None:
        return None
    parts = _WORDED.findall(found.group(1).lower())
    return _bounded(sum(float(number) * _UNIT_S[unit] for number, unit in parts))


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d{1,9})?", text) else None


def _retry_after(text: str, now_ms: int) -> float | None:
    if (duration := read_duration_s(text)) is not None:
        return duration
    try:
        return parsedate_to_datetime(text).timestamp() - now_ms / 1000
    except (ValueError, TypeError, OverflowError):
        return None


def _reset(text: str, now_ms: int) -> float | None:
    value = read_duration_s(text)
    if value is None or value < 1e8:
        return value
    moment_s = value / 1000 if value > 1e11 else value  # a point in time, in ms or in seconds
    return moment_s - now_ms / 1000


def _bounded(wait_s: float) -> float:
    return min(max(wait_s, 0.0), MAX_WAIT_S)


def _error_object(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, list):  # Gemini's 429
        value = value[0] if value else None
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, list) and error:
        error = error[0]
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {**value, "message": error}
    return value if "message" in value or "detail" in value else None


def _wait_in_body(error: Mapping[str, Any]) -> float | None:
    details = error.get("details")
    for detail in details if isinstance(details, list) else []:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None  # Google's RetryInfo
        if isinstance(delay, str) and (wait_s := read_duration_s(delay)) is not None:
            return _bounded(wait_s)
    return None


def _status_within(code: str, kind: str) -> int:
    """The status that an error inside HTTP 200 would have had; 200 if it does not say."""
    if re.fullmatch(r"[45]\d\d", code):
        return int(code)
    limited = any("rate_limit" in said for said in (code, kind))
    return 429 if limited or _QUOTA & {code, kind} else 200


def _plain(value: Any) -> str:
    return "" if value is None else str(value)[:1000]
