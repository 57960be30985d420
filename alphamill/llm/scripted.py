"""A model that says what a test scripts."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from alphamill.llm.messages import ChatReply, ChatRequest, TokenUsage
from alphamill.llm.tokens import estimate_tokens


class ScriptedChat:
    """A model that gives the scripted lines in turn: a text, a whole reply, an error to raise, or a
    function of the request. `requests` holds what it was asked. Past the end it raises IndexError.
    """

    def __init__(self, lines: Iterable[Line], latency_ms: int = 5) -> None:
        self._lines = deque(lines)
        self._latency_ms = latency_ms
        self._lock = threading.Lock()
        self.requests: list[ChatRequest] = []

    def complete(self, request: ChatRequest) -> ChatReply:
        """The next line as a reply; usage is counted by the project's own estimate."""
        with self._lock:
            self.requests.append(request)
            line = self._lines.popleft()
        if isinstance(line, Exception):
            raise line
        if isinstance(line, ChatReply):
            return line
        text = line(request) if callable(line) else line
        return ChatReply(
            text=text,
            finish_reason="stop",
            model=request.model,
            usage=TokenUsage(
                prompt=estimate_tokens(request.messages),
                cached=0,
                completion=min(request.max_tokens, len(text) // 3 + 1),
            ),
            latency_ms=self._latency_ms,
            asked_model=request.model,
        )

    def models(self) -> list[str]:
        """The models it was asked for so far."""
        return sorted({request.model for request in self.requests})


Line = str | ChatReply | Exception | Callable[[ChatRequest], str]
