"""An OpenAI-compatible endpoint over HTTP: one request, one reply or one classified failure."""

from __future__ import annotations

import json
import os
import ssl
from dataclasses import dataclass, replace
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol

import requests
import urllib3
from pydantic import SecretStr

from alphamill.clock import Clock, SystemClock
from alphamill.errors import Misconfigured
from alphamill.llm.completion import read_completion
from alphamill.llm.failures import (
    CallFailure,
    ConnectionLost,
    InvalidReply,
    NotConnected,
    TimedOut,
)
from alphamill.llm.messages import ChatReply, ChatRequest
from alphamill.llm.provider_errors import ProviderError, classify, read_error

CONNECT_TIMEOUT_S = 10.0
MAX_BODY_BYTES = 8_000_000


class Chat(Protocol):
    """A model endpoint."""

    def complete(self, request: ChatRequest) -> ChatReply:
        """One completion. Raises one of `failures.CALL_FAILURES`."""

    def models(self) -> list[str]:
        """Names of the models that the endpoint serves."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """What an endpoint was found to accept for a model."""

    response_format: str = "json_schema"  # then json_object, then text
    limit_field: str = "max_tokens"  # or max_completion_tokens
    temperature: bool = True
    seed: bool = True

    def after(self, error: ProviderError) -> _Dialect | None:
        """The dialect to try next, or None if the refusal is about something else."""
        said = f"{error.param} {error.message}".lower()
        if "max_tokens" in said and "max_completion_tokens" in said:
            other = {"max_tokens": "max_completion_tokens"}.get(self.limit_field)
            return replace(self, limit_field=other) if other else None
        if "response_format" in said or "json_schema" in said or "json_object" in said:
            weaker = {"json_schema": "json_object", "json_object": "text"}.get(self.response_format)
            return replace(self, response_format=weaker) if weaker else None
        if "temperature" in said and self.temperature:
            return replace(self, temperature=False)
        if "seed" in said and self.seed:
            return replace(self, seed=False)
        return None


class OpenAIChat:
    """Chat completions at `base_url` (up to and including its version, such as https://host/v1).

    timeout_s bounds the wait for the first byte and, measured from the start, the whole reply; one
    last read may add as much again. Safe to share between threads. The key goes into the
    Authorization header and nowhere else. Sources: platform.openai.com/docs/api-reference/chat.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr | None,
        timeout_s: float,
        session: requests.Session | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._base_url = _checked_url(base_url)
        self._auth = _Bearer(api_key)
        self._timeout_s = timeout_s
        self._session = session or _new_session(self._base_url)
        self._clock = clock or SystemClock()
        self._dialects: dict[str, _Dialect] = {}

    def complete(self, request: ChatRequest) -> ChatReply:
        """POST {base}/chat/completions. Raises one of `failures.CALL_FAILURES`."""
        while True:
            dialect = self._dialects.get(request.model, _Dialect())
            started_s = self._clock.monotonic_s()
            response, body = self._send("POST", "/chat/completions", _payload(request, dialect))
            latency_ms = round((self._clock.monotonic_s() - started_s) * 1000)
            if response.status_code == 200:
                return self._read(response, body, request, latency_ms)
            error = self._error(response, body)
            learned = dialect.after(error) if error.status in (400, 422) else None
            if learned is None:
                raise classify(error, request.model)
            self._dialects[request.model] = learned

    def models(self) -> list[str]:
        """GET {base}/models: the names that the endpoint lists, sorted."""
        response, body = self._send("GET", "/models", None)
        if response.status_code != 200:
            raise classify(self._error(response, body), "any model")
        rows = _json_object(body).get("data")
        names = [row.get("id") for row in rows or [] if isinstance(row, dict)]
        return sorted(name for name in names if isinstance(name, str))

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def __repr__(self) -> str:
        return f"OpenAIChat({_without_userinfo(self._base_url)!r})"

    def _read(
        self, response: requests.Response, body: bytes, request: ChatRequest, latency_ms: int
    ) -> ChatReply:
        value = _json_object(body)
        if error := _error_within(value):
            raise classify(self._error(response, json.dumps(error).encode()), request.model)
        try:
            reply = read_completion(value, request, latency_ms)
        except ValueError as reason:
            raise InvalidReply(f"HTTP 200 without a completion ({reason})", 2.0) from None
        return replace(reply, text=self._auth.redact(reply.text))

    def _error(self, response: requests.Response, body: bytes) -> ProviderError:
        said = self._auth.redact(body.decode("utf-8", "replace")).encode()
        return read_error(response.status_code, said, response.headers, self._clock.now_ms())

    def _send(
        self, method: str, path: str, payload: dict[str, Any] | None
    ) -> tuple[requests.Response, bytes]:
        deadline_s = self._clock.monotonic_s() + self._timeout_s
        try:
            with self._session.request(
                method, self._base_url + path, json=payload, auth=self._auth, stream=True,
                timeout=(min(CONNECT_TIMEOUT_S, self._timeout_s), self._timeout_s),
                allow_redirects=False,
            ) as response:  # fmt: skip
                return response, self._body(response, deadline_s)
        # Messages of these exceptions may quote headers or the URL: only their class is passed on.
        except (requests.exceptions.ConnectTimeout, urllib3.exceptions.NewConnectionError) as error:
            raise _not_connected(error) from None
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
            raise TimedOut(f"no whole reply within {self._timeout_s:g} s", 2.0) from None
        except requests.exceptions.ConnectionError as error:
            raise _broken(error) from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise ConnectionLost(f"the exchange broke off ({type(error).__name__})", 2.0) from None

    def _body(self, response: requests.Response, deadline_s: float) -> bytes:
        # Some servers send blank lines while a request is queued: each would re-arm the socket's
        # timeout, so the whole body has a deadline of its own.
        body = bytearray()
        while chunk := response.raw.read1(65_536, decode_content=True):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise InvalidReply(f"a reply of more than {MAX_BODY_BYTES} bytes", 2.0)
            if self._clock.monotonic_s() > deadline_s:
                raise TimedOut(f"no whole reply within {self._timeout_s:g} s", 2.0)
        return bytes(body)


class _Bearer(requests.auth.AuthBase):
    """Sets the Authorization header; given as `auth`, so that no .netrc entry replaces it."""

    def __init__(self, key: SecretStr | None) -> None:
        self._key = key.get_secret_value().strip() if key is not None else ""
        if not (self._key.isascii() and self._key.isprintable()) or " " in self._key:
            raise Misconfigured(
                "ALPHAMILL_LLM_API_KEY", "holds characters that no key has", "paste the key again"
            )

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def __repr__(self) -> str:
        return "_Bearer(**)"

    def redact(self, text: str) -> str:
        """`text` with the key blotted out, for providers that echo it."""
        return text.replace(self._key, "[key]") if len(self._key) >= 8 else text


def _new_session(base_url: str) -> requests.Session:
    """One pool for all threads; it keeps no cookies, the one thing that threads would share.

    What the environment says about proxies and certificates is read once, not at every call.
    """
    session = requests.Session()
    session.trust_env = False
    session.proxies.update(requests.utils.get_environ_proxies(base_url))
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    session.verify = bundle or True
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=64))
    return session


def _payload(request: ChatRequest, dialect: _Dialect) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        dialect.limit_field: request.max_tokens,
    }
    if dialect.temperature:
        payload["temperature"] = request.temperature
    if dialect.seed and request.seed is not None:
        payload["seed"] = request.seed
    if request.schema is not None and dialect.response_format == "json_schema":
        named = {"name": "reply", "strict": True, "schema": dict(request.schema)}
        payload["response_format"] = {"type": "json_schema", "json_schema": named}
    elif request.schema is not None and dialect.response_format == "json_object":
        payload["response_format"] = {"type": "json_object"}
    return payload


def _error_within(value: dict[str, Any]) -> Any:
    """An error inside HTTP 200: at the top, or in the first choice (OpenRouter)."""
    if value.get("error"):
        return {"error": value["error"]}
    choices = value.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, dict) and first.get("error"):
        return {"error": first["error"]}
    return None


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidReply("HTTP 200 with a body that is not JSON", 2.0) from None
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0]
    if not isinstance(value, dict):
        raise InvalidReply("HTTP 200 with JSON that is no object", 2.0)
    return value


def _broken(error: requests.exceptions.ConnectionError) -> CallFailure:
    cause: object = error.args[0] if error.args else None
    cause = getattr(cause, "reason", cause)  # MaxRetryError wraps what happened
    if isinstance(cause, urllib3.exceptions.NewConnectionError):
        return _not_connected(cause)
    inner = cause.args[0] if isinstance(cause, urllib3.exceptions.SSLError) and cause.args else None
    if isinstance(inner, ssl.SSLCertVerificationError):
        return _not_connected(inner)
    return ConnectionLost(f"the connection broke ({type(cause).__name__})", 2.0)


def _not_connected(error: Exception) -> NotConnected:
    return NotConnected(f"cannot connect to the model endpoint ({type(error).__name__})", 2.0)


def _checked_url(base_url: str) -> str:
    try:
        parts = urllib3.util.parse_url(base_url)
    except urllib3.exceptions.LocationParseError:
        parts = urllib3.util.Url()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise Misconfigured(
            "ALPHAMILL_LLM_URL", "is not an http(s) address", "such as https://api.openai.com/v1"
        )
    return base_url.rstrip("/")


def _without_userinfo(url: str) -> str:
    return urllib3.util.parse_url(url)._replace(auth=None).url
