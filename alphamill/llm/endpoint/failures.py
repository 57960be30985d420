"""How a model call fails: what to do next (the base class), how to count it, and who paid.

CallFailure               the endpoint was asked
├── and RetryLater        RateLimited, Overloaded, ServerFailed, TimedOut, ConnectionLost,
│                         NotConnected, InvalidReply
├── and GiveUp            QuotaExhausted, ContextTooLong, RequestTooLarge, RequestRefused
└── and Misconfigured     KeyRefused (AccessRefused is one), RegionBarred, ModelNotFound,
                          EndpointNotFound

CircuitOpen (RetryLater) and ProviderDown (GiveUp) come before a call: the endpoint was not asked.
"""

from __future__ import annotations

from typing import ClassVar

from alphamill.errors import AlphamillError, GiveUp, Misconfigured, RetryLater
from alphamill.llm.breaker.protocol import FailureKind


class CallFailure(AlphamillError):
    """A call that was made and has no reply.

    error_class: the name under which it is counted.
    unbilled: the provider certainly charged nothing, so that the reservation may be released;
    otherwise it stays as spent.
    opens: what a breaker makes of it; None: a sign of life, which closes the circuits.
    """

    error_class: ClassVar[str]
    unbilled: ClassVar[bool]
    opens: ClassVar[FailureKind | None] = None


class RateLimited(RetryLater, CallFailure):
    """429, wait: nobody's fault, so that it is not counted as one of a call's tries."""

    error_class = "rate_limited"
    unbilled = True


class Overloaded(RetryLater, CallFailure):
    """The API itself refused the request before working on it (503, 529)."""

    error_class = "server"
    unbilled = True
    opens = FailureKind.BROKEN


class ServerFailed(RetryLater, CallFailure):
    """The server broke while it had the request; it may have done the work."""

    error_class = "server"
    unbilled = False
    opens = FailureKind.BROKEN


class TimedOut(RetryLater, CallFailure):
    """No whole reply in time; it may still be billed."""

    error_class = "timeout"
    unbilled = False
    opens = FailureKind.SILENT


class ConnectionLost(RetryLater, CallFailure):
    """The connection broke after the request may have been sent."""

    error_class = "network"
    unbilled = False
    opens = FailureKind.BROKEN


class NotConnected(RetryLater, CallFailure):
    """No connection was made, so nothing was sent."""

    error_class = "network"
    unbilled = True
    opens = FailureKind.UNREACHABLE


class InvalidReply(RetryLater, CallFailure):
    """HTTP 200 with no completion in it; it may be billed."""

    error_class = "invalid_reply"
    unbilled = False
    opens = FailureKind.BROKEN


class QuotaExhausted(GiveUp, CallFailure):
    """The account has no money left (402, insufficient_quota); retrying never helps."""

    error_class = "quota"
    unbilled = True
    opens = FailureKind.NO_QUOTA


class ContextTooLong(GiveUp, CallFailure):
    """The prompt does not fit into the model's context."""

    error_class = "bad_request"
    unbilled = True


class RequestTooLarge(GiveUp, CallFailure):
    """One request is above the account's limit of tokens per minute: it would never pass."""

    error_class = "bad_request"
    unbilled = True


class RequestRefused(GiveUp, CallFailure):
    """Any other 4xx: the same request would be refused again."""

    error_class = "bad_request"
    unbilled = True


class KeyRefused(Misconfigured, CallFailure):
    """401, or its like."""

    error_class = "auth"
    unbilled = True
    opens = FailureKind.KEY_REFUSED


class AccessRefused(KeyRefused):
    """403: the key may not have this, be it the model, the region or this very prompt."""

    opens = FailureKind.NO_ACCESS


class RegionBarred(Misconfigured, CallFailure):
    """The provider does not serve where the call comes from: no key cures that."""

    error_class = "auth"
    unbilled = True
    opens = FailureKind.NO_REGION


class ModelNotFound(Misconfigured, CallFailure):
    """The endpoint does not serve the model."""

    error_class = "bad_request"
    unbilled = True
    opens = FailureKind.NO_MODEL


class EndpointNotFound(Misconfigured, CallFailure):
    """The base URL does not lead to a chat completions API."""

    error_class = "bad_request"
    unbilled = True
    opens = FailureKind.NO_API


class CircuitOpen(RetryLater):
    """The endpoint did not answer others a moment ago; nothing was sent."""


class ProviderDown(GiveUp):
    """The endpoint has not answered for so long that waiting goes on elsewhere: resume the run."""
