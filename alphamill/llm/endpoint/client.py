"""An OpenAI-compatible endpoint over HTTP: one request, one reply or one classified failure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import msgspec
import urllib3
from pydantic import SecretStr

from alphamill.clock import Clock, SystemClock
from alphamill.errors import Misconfigured
from alphamill.llm.endpoint.completion import read_completion
from alphamill.llm.endpoint.dialects import Dialect, Dialects, MemoryDialects
from alphamill.llm.endpoint.failures import InvalidReply
from alphamill.llm.endpoint.http import Connections, HttpReply, Timeouts
from alphamill.llm.endpoint.provider_errors import ProviderError, classify, read_error
from alphamill.llm.messages import ChatReply, ChatRequest
from alphamill.settings import KEY_VARIABLE, could_be_key

_COMMENTS = re.compile(rb"^:[^\n]*$", re.MULTILINE)  # OpenRouter's, while a request is queued
_STREAM = re.compile(rb"(data|event|id|retry): ?")


class Chat(Protocol):
    """A model endpoint."""

    def complete(self, request: ChatRequest) -> ChatReply:
        """One completion. Raises a `CallFailure`."""

    def models(self) -> list[str]:
        """Names of the models that the endpoint serves."""


class OpenAIChat:
    """Chat completions at `base_url` (up to and including its version, such as https://host/v1).

    timeouts: seconds mean that for the first byte and for the whole reply.
    key_name: the setting that a person must change when the key is refused.
    dialects: what is known of this endpoint; None: only what this client learns.
    headers: sent with every request, and as secret as the key.
    Safe to share between threads. The key goes into the Authorization header and nowhere else.
    Sources: platform.openai.com/docs/api-reference/chat.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr | None,
        timeouts: Timeouts | float,
        key_name: str = KEY_VARIABLE,
        clock: Clock | None = None,
        dialects: Dialects | None = None,
        headers: Mapping[str, SecretStr] | None = None,
    ) -> None:
        base_url = _checked_url(base_url)
        self._shown_url = _without_userinfo(base_url)
        self._key = _Key(api_key, key_name, headers or {})
        self._clock = clock or SystemClock()
        waits = timeouts if isinstance(timeouts, Timeouts) else Timeouts.of(timeouts)
        self._connections = Connections(self._shown_url, waits, self._clock)
        self._dialects = dialects or MemoryDialects()

    def complete(self, request: ChatRequest) -> ChatReply:
        """POST {base}/chat/completions. Raises a `CallFailure`."""
        dialect = self._dialects.recall(request.model)
        recalled = True  # an earlier lesson; what this one learns is not doubted
        while True:
            started_s = self._clock.monotonic_s()
            answer = self._send("POST", "/chat/completions", _encoded(_payload(request, dialect)))
            latency_ms = round((self._clock.monotonic_s() - started_s) * 1000)
            if answer.status == 200:
                return self._read(answer, request, latency_ms)
            error = self._error(answer)
            learned = dialect.after(error)
            if learned is None and recalled and dialect.doubted(error):
                learned = Dialect()  # the endpoint has changed since
            if learned is None:
                raise classify(error, request.model, self._key.name)
            self._dialects.learn(request.model, learned)
            dialect, recalled = learned, False

    def models(self) -> list[str]:
        """GET {base}/models: the names that the endpoint lists, sorted."""
        answer = self._send("GET", "/models", None)
        if answer.status != 200:
            raise classify(self._error(answer), "any model", self._key.name)
        rows = _json_object(answer.body, self._key).get("data")
        names = [row.get("id") for row in rows or [] if isinstance(row, dict)]
        return sorted(name for name in names if isinstance(name, str))

    def close(self) -> None:
        """Close the idle connections."""
        self._connections.close()

    def __repr__(self) -> str:
        return f"OpenAIChat({self._shown_url!r})"

    def _send(self, method: str, path: str, body: bytes | None) -> HttpReply:
        return self._connections.exchange(method, path, body, self._key.headers())

    def _read(self, answer: HttpReply, request: ChatRequest, latency_ms: int) -> ChatReply:
        value = _json_object(answer.body, self._key)
        if error := _error_within(value):
            refusal = replace(answer, body=json.dumps(error).encode())
            raise classify(self._error(refusal), request.model, self._key.name)
        try:
            reply = read_completion(value, request, latency_ms, answer.headers)
        except ValueError as reason:
            shown = _excerpt(answer.body, self._key)
            problem = f"HTTP 200 without a completion ({reason}): {shown}"
            raise InvalidReply(problem, 2.0) from None
        text, model = self._key.redact(reply.text), self._key.redact(reply.model)
        clean = text is reply.text and model is reply.model
        return reply if clean else replace(reply, text=text, model=model)

    def _error(self, answer: HttpReply) -> ProviderError:
        body = self._key.redact(answer.body.decode("utf-8", "replace")).encode()
        return read_error(answer.status, body, answer.headers, self._clock.now_ms())


class _Key:
    """A key and headers that show themselves in requests only. `name`: the key's setting."""

    def __init__(
        self, key: SecretStr | None, name: str, headers: Mapping[str, SecretStr] | None = None
    ) -> None:
        self.name = name
        self._key = key.get_secret_value().strip() if key is not None else ""
        if not could_be_key(self._key):
            raise Misconfigured(name, "holds characters that no key has", "paste the key again")
        self._headers = {name: value.get_secret_value() for name, value in (headers or {}).items()}
        # Short values are names that a reply may well hold, such as a provider's.
        self._secrets = [value for value in self._headers.values() if len(value) >= 16]
        if self._key:
            self._headers["Authorization"] = f"Bearer {self._key}"
        if len(self._key) >= 8:
            self._secrets.append(self._key)

    def headers(self) -> Mapping[str, str]:
        return self._headers

    def __repr__(self) -> str:
        return "_Key(**)"

    def redact(self, text: str) -> str:
        """`text` with what is secret blotted out, for providers that echo it."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "[key]")
        return text


def _payload(request: ChatRequest, dialect: Dialect) -> dict[str, Any]:
    payload: dict[str, Any] = {
        **request.extra_body,
        "model": request.model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "stream": False,  # some gateways stream unless told not to
        dialect.limit_field: request.max_tokens,
    }
    if dialect.reasoning_effort and request.reasoning_effort:
        payload["reasoning_effort"] = request.reasoning_effort
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


def _encoded(payload: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(payload)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape
        return json.dumps(payload).encode()


def _json_object(body: bytes, key: _Key) -> dict[str, Any]:
    try:
        value = _decoded(_COMMENTS.sub(b"", body) if body.lstrip().startswith(b":") else body)
    except (ValueError, RecursionError):
        shown = _excerpt(body, key)
        if _STREAM.match(body.lstrip()):
            problem = f"HTTP 200 with a stream, although none was asked for: {shown}"
            raise InvalidReply(problem, 2.0) from None
        raise InvalidReply(f"HTTP 200 with a body that is not JSON: {shown}", 2.0) from None
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0]
    if not isinstance(value, dict):
        raise InvalidReply(f"HTTP 200 with JSON that is no object: {_excerpt(body, key)}", 2.0)
    return value


def _excerpt(body: bytes, key: _Key) -> str:
    """The first words of a body on one line, for a person."""
    words = " ".join(key.redact(body[:4000].decode("utf-8", "replace")).split())
    return repr(words[:80])


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:  # stricter than what some servers write: NaN, half surrogate pairs
        return json.loads(body)


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
