"""How a model call fails: what to do next (the base class), how to count it, and who paid.

`error_class` is the name under which the failure is counted. `unbilled` says that the provider
certainly charged nothing, so that the reservation may be released; otherwise it stays as spent.
"""

from __future__ import annotations

from typing import ClassVar

from alphamill.errors import GiveUp, Misconfigured, RetryLater


class RateLimited(RetryLater):
    """429, wait: nobody's fault, so that it is not counted as one of a call's tries."""

    error_class: ClassVar[str] = "rate_limited"
    unbilled: ClassVar[bool] = True


class Overloaded(RetryLater):
    """The API itself refused the request before working on it (503, 529)."""

    error_class: ClassVar[str] = "server"
    unbilled: ClassVar[bool] = True


class ServerFailed(RetryLater):
    """The server broke while it had the request; it may have done the work."""

    error_class: ClassVar[str] = "server"
    unbilled: ClassVar[bool] = False


class TimedOut(RetryLater):
    """No whole reply in time; it may still be billed."""

    error_class: ClassVar[str] = "timeout"
    unbilled: ClassVar[bool] = False


class ConnectionLost(RetryLater):
    """The connection broke after the request may have been sent."""

    error_class: ClassVar[str] = "network"
    unbilled: ClassVar[bool] = False


class NotConnected(RetryLater):
    """No connection was made, so nothing was sent."""

    error_class: ClassVar[str] = "network"
    unbilled: ClassVar[bool] = True


class InvalidReply(RetryLater):
    """HTTP 200 with no completion in it; it may be billed."""

    error_class: ClassVar[str] = "invalid_reply"
    unbilled: ClassVar[bool] = False


class QuotaExhausted(GiveUp):
    """The account has no money left (402, insufficient_quota); retrying never helps."""

    error_class: ClassVar[str] = "quota"
    unbilled: ClassVar[bool] = True


class ContextTooLong(GiveUp):
    """The prompt does not fit into the model's context."""

    error_class: ClassVar[str] = "bad_request"
    unbilled: ClassVar[bool] = True


class RequestRefused(GiveUp):
    """Any other 4xx: the same request would be refused again."""

    error_class: ClassVar[str] = "bad_request"
    unbilled: ClassVar[bool] = True


class KeyRefused(Misconfigured):
    """401, or its like."""

    error_class: ClassVar[str] = "auth"
    unbilled: ClassVar[bool] = True


class AccessRefused(KeyRefused):
    """403: the key may not have this, be it the model, the region or this very prompt."""


class ModelNotFound(Misconfigured):
    """The endpoint does not serve the model."""

    error_class: ClassVar[str] = "bad_request"
    unbilled: ClassVar[bool] = True


class EndpointNotFound(Misconfigured):
    """The base URL does not lead to a chat completions API."""

    error_class: ClassVar[str] = "bad_request"
    unbilled: ClassVar[bool] = True


class CircuitOpen(RetryLater):
    """The endpoint did not answer others a moment ago; nothing was sent."""


class ProviderDown(GiveUp):
    """The endpoint has not answered for so long that waiting goes on elsewhere: resume the run."""


CallFailure = (
    RateLimited
    | Overloaded
    | ServerFailed
    | TimedOut
    | ConnectionLost
    | NotConnected
    | InvalidReply
    | QuotaExhausted
    | ContextTooLong
    | RequestRefused
    | KeyRefused
    | AccessRefused
    | ModelNotFound
    | EndpointNotFound
)

CALL_FAILURES = (
    RateLimited,
    Overloaded,
    ServerFailed,
    TimedOut,
    ConnectionLost,
    NotConnected,
    InvalidReply,
    QuotaExhausted,
    ContextTooLong,
    RequestRefused,
    KeyRefused,
    ModelNotFound,
    EndpointNotFound,
)
