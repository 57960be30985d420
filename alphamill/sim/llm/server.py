"""A simulated OpenAI-compatible endpoint on loopback: the offline LLM.

POST /v1/chat/completions (streamed too) and GET /v1/models[/NAME] with usage, rate-limit headers
and replies that follow the JSON schema asked for. What it proposes comes from `proposer`; equal
seed and prompt, equal reply.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import tornado.httpserver
import tornado.netutil
import tornado.web

from alphamill.sim.llm.prompt_reader import answer
from alphamill.sim.llm.proposer import NAME

_CHARACTERS_PER_TOKEN = 4
_PIECE = 40  # characters of a streamed chunk
_CACHED_PREFIX_TOKENS = 1024  # shorter prefixes are not cached, as at OpenAI


@dataclass(frozen=True, slots=True)
class LLMConfig:
    """How the endpoint behaves. Limits are per rolling minute, as its headers say."""

    port: int = 0  # 0: a free one
    seed: int = 7
    requests_per_minute: int = 100_000
    tokens_per_minute: int = 100_000_000
    latency_ms: int = 30
    api_key: str = ""  # "": any key will do
    model: str = NAME


class RollingLimit:
    """An amount per rolling 60 s."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0

    def remaining(self, now_s: float) -> int:
        """What may still be taken now."""
        while self._taken and self._taken[0][0] <= now_s - 60:
            self._sum -= self._taken.popleft()[1]
        return self.limit - self._sum

    def take(self, amount: int, now_s: float) -> None:
        """Count `amount`, whether it fits or not."""
        self._taken.append((now_s, amount))
        self._sum += amount

    def reset_s(self, now_s: float) -> float:
        """Seconds until something is given back."""
        return max(0.0, self._taken[0][0] + 60 - now_s) if self._taken else 0.0


class Endpoint:
    """The endpoint's behaviour without its sockets."""

    def __init__(self, config: LLMConfig, now_s: Callable[[], float] = time.monotonic) -> None:
        self.config = config
        self._now_s = now_s
        self._requests = RollingLimit(config.requests_per_minute)
        self._tokens = RollingLimit(config.tokens_per_minute)
        self._prefixes: set[str] = set()
        self.calls = 0

    def complete(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
        """(status, body, headers) of a completion request."""
        problem = self._problem(body)
        if problem:
            return problem
        prompt = "".join(str(message.get("content", "")) for message in body["messages"])
        prompt_tokens = _tokens(prompt)
        most = body.get("max_tokens") or body.get("max_completion_tokens") or 1024
        now_s = self._now_s()
        if self._requests.remaining(now_s) < 1 or (
            self._tokens.remaining(now_s) < prompt_tokens + most
        ):
            headers = {**self._headers(now_s), "Retry-After": str(1 + int(self._reset_s(now_s)))}
            message = f"Rate limit reached for {body['model']}"
            return 429, _error(message, "requests", "rate_limit_exceeded"), headers
        self._requests.take(1, now_s)
        text, finish = self._reply(body, prompt, most)
        completion_tokens = _tokens(text)
        self._tokens.take(prompt_tokens + completion_tokens, now_s)
        self.calls += 1
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self._cached(body["messages"])},
        }
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": finish,
        }
        reply = {
            "id": f"chatcmpl-sim-{self.calls}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.config.model,
            "choices": [choice],
            "usage": usage,
        }
        return 200, reply, self._headers(now_s)

    def models(self) -> dict[str, Any]:
        """The body of GET /v1/models."""
        return {"object": "list", "data": [self._model()]}

    def model(self, name: str) -> tuple[int, dict[str, Any]]:
        """(status, body) of GET /v1/models/NAME."""
        return (200, self._model()) if name == self.config.model else (404, _no_model(name))

    def _model(self) -> dict[str, Any]:
        return {"id": self.config.model, "object": "model", "created": 0, "owned_by": "alphamill"}

    def refuses(self, authorization: str) -> bool:
        """Whether an Authorization header does not carry the configured key."""
        return bool(self.config.api_key) and authorization != f"Bearer {self.config.api_key}"

    def _problem(
        self, body: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any], dict[str, str]] | None:
        messages = body.get("messages")
        well_formed = isinstance(messages, list) and all(isinstance(m, dict) for m in messages)
        if not messages or not well_formed:
            return 400, _bad("messages", "Missing or malformed parameter: 'messages'."), {}
        if body.get("model") != self.config.model:
            return 404, _no_model(body.get("model")), {}
        for name in ("max_tokens", "max_completion_tokens", "n"):
            value = body.get(name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if value is not None and not whole:
                return 400, _bad(name, f"Invalid value for '{name}': an integer from 1."), {}
        if (body.get("n") or 1) > 1:
            return 400, _bad("n", "Invalid value for 'n': this model gives one choice."), {}
        return None

    def _reply(self, body: Mapping[str, Any], prompt: str, most: int) -> tuple[str, str]:
        seed = hashlib.sha256(f"{self.config.seed}\n{prompt}".encode()).digest()
        rng = Random(seed)  # noqa: S311  a reproducible search, not a secret
        text = json.dumps(answer(rng, body))
        limit = most * _CHARACTERS_PER_TOKEN
        return (text, "stop") if len(text) <= limit else (text[:limit], "length")

    def _cached(self, messages: list[Mapping[str, Any]]) -> int:
        """Tokens of the first message if it was sent before and is long enough."""
        prefix = str(messages[0].get("content", ""))
        digest = hashlib.sha256(prefix.encode()).hexdigest()
        known = digest in self._prefixes
        self._prefixes.add(digest)
        tokens = _tokens(prefix)
        return tokens if known and tokens >= _CACHED_PREFIX_TOKENS else 0

    def _reset_s(self, now_s: float) -> float:
        return max(self._requests.reset_s(now_s), self._tokens.reset_s(now_s))

    def _headers(self, now_s: float) -> dict[str, str]:
        return {
            "x-ratelimit-limit-requests": str(self._requests.limit),
            "x-ratelimit-limit-tokens": str(self._tokens.limit),
            "x-ratelimit-remaining-requests": str(max(0, self._requests.remaining(now_s))),
            "x-ratelimit-remaining-tokens": str(max(0, self._tokens.remaining(now_s))),
            "x-ratelimit-reset-requests": f"{self._requests.reset_s(now_s):.3f}s",
            "x-ratelimit-reset-tokens": f"{self._tokens.reset_s(now_s):.3f}s",
        }


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def _error(message: str, kind: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _bad(param: str, message: str) -> dict[str, Any]:
    return _error(message, "invalid_request_error", "invalid_value", param)


def _no_model(name: object) -> dict[str, Any]:
    message = f"The model `{name}` does not exist or you do not have access to it."
    return _error(message, "invalid_request_error", "model_not_found")


def chunks(reply: Mapping[str, Any], with_usage: bool) -> Iterator[dict[str, Any]]:
    """A completion as a stream's events: the role, the text in pieces, the end, and the usage."""
    choice = reply["choices"][0]
    text = choice["message"]["content"]
    head = {name: reply[name] for name in ("id", "created", "model")}
    pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
    deltas = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces), {}]
    for number, delta in enumerate(deltas, 1):
        finish = choice["finish_reason"] if number == len(deltas) else None
        part = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        yield {**head, "object": "chat.completion.chunk", "choices": [part]}
    if with_usage:
        usage = reply["usage"]
        yield {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}


class _Handler(tornado.web.RequestHandler):
    def initialize(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def prepare(self) -> None:
        if self._endpoint.refuses(self.request.headers.get("Authorization", "")):
            self.set_status(401)
            self.finish(_error("Incorrect API key", "invalid_request_error", "invalid_api_key"))


class _Nowhere(_Handler):
    def prepare(self) -> None:
        self.set_status(404)
        url = f"{self.request.method} {self.request.path}"
        self.finish(_error(f"Invalid URL ({url})", "invalid_request_error", None))


class _Models(_Handler):
    def get(self) -> None:
        self.finish(self._endpoint.models())


class _Model(_Handler):
    def get(self, name: str) -> None:
        status, body = self._endpoint.model(name)
        self.set_status(status)
        self.finish(body)


class _Completions(_Handler):
    async def post(self) -> None:
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError):
            body = {}
        body = body if isinstance(body, dict) else {}
        status, reply, headers = self._endpoint.complete(body)
        await asyncio.sleep(self._endpoint.config.latency_ms / 1000)
        self.set_status(status)
        for name, value in headers.items():
            self.set_header(name, value)
        if status != 200 or not body.get("stream"):
            self.finish(reply)
            return
        self.set_header("Content-Type", "text/event-stream")
        options = body.get("stream_options")
        with_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        for chunk in chunks(reply, with_usage):
            self.write(f"data: {json.dumps(chunk)}\n\n")
            await self.flush()
        self.finish("data: [DONE]\n\n")


def application(endpoint: Endpoint) -> tornado.web.Application:
    """The endpoint's routes."""
    options = {"endpoint": endpoint}
    return tornado.web.Application(
        [
            (r"/v1/models", _Models, options),
            (r"/v1/models/([^/]+)", _Model, options),
            (r"/v1/chat/completions", _Completions, options),
        ],
        default_handler_class=_Nowhere,
        default_handler_args=options,
        log_function=lambda _: None,
    )


def run_llm(config: LLMConfig, ready: Callable[[int], None]) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT; `ready` is told the port."""
    asyncio.run(_serve(config, ready))


async def _serve(config: LLMConfig, ready: Callable[[int], None]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, stopping.set)
    sockets = tornado.netutil.bind_sockets(config.port, "127.0.0.1")
    server = tornado.httpserver.HTTPServer(application(Endpoint(config)))
    server.add_sockets(sockets)
    ready(sockets[0].getsockname()[1])
    await stopping.wait()
    server.stop()
    await server.close_all_connections()
