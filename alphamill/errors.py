"""What can go wrong, and what to do next.

AlphamillError
├── RetryLater     the same job may succeed after a while; carries `after_s`
│   └── RateLimited, Overloaded, ServerFailed, TimedOut, ConnectionLost, NotConnected,
│       InvalidReply, CircuitOpen            a model's endpoint: llm/endpoint/failures.py
├── GiveUp         the job cannot succeed; it goes to the dead letters with its reason
│   ├── QuotaExhausted, ContextTooLong, RequestTooLarge, RequestRefused, ProviderDown   likewise
│   ├── BudgetExhausted                      llm/journal/budget.py
│   ├── NoSuchRun                            ledger/
│   └── Unreadable, Unfit                    a file of the lake; a range that makes no panel
├── Misconfigured  a person must change a setting; names it and the cure
│   └── KeyRefused (AccessRefused is one), RegionBarred, ModelNotFound, EndpointNotFound   likewise
├── NotParsed      a text that people wrote; carries the position
│   ├── FactorError                          an expression that does not parse or is out of bounds
│   └── RuleError                            a rule of bars: bars/rules.py
├── Unwanted       nobody waits for what the job makes: its run was cancelled, or another has it
├── CallFailure    a second parent of what a model's endpoint did: how it is counted, who paid
└── Damaged        a file of the exchange's archive that is not what it should be: market/

Retry policy reads the class; no task has its own ladder of excepts. Every error is rebuilt by its
constructor arguments (`type(e)(*e.args)`), so that it survives the trip through a queue.
"""

from __future__ import annotations


class AlphamillError(Exception):
    """Anything that alphamill raises on purpose."""


class RetryLater(AlphamillError):
    """Temporary; the same call may succeed after `after_s` seconds.

    `counts` is False when the wait is nobody's fault (a limit, a ban): the attempt is given back.
    """

    def __init__(self, reason: str, after_s: float = 1.0, counts: bool = True) -> None:
        super().__init__(reason, after_s, counts)
        self.reason = reason
        self.after_s = after_s
        self.counts = counts

    def __str__(self) -> str:
        return self.reason


class GiveUp(AlphamillError):
    """Permanent; trying the same thing again cannot help."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Unwanted(AlphamillError):
    """Work that was stopped half way, since what it makes would be thrown away."""


class Misconfigured(AlphamillError):
    """A setting is missing or wrong. `setting` is the variable or TOML key, `cure` what to do."""

    def __init__(self, setting: str, problem: str, cure: str) -> None:
        super().__init__(setting, problem, cure)
        self.setting = setting
        self.problem = problem
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.setting}: {self.problem}; {self.cure}"


class NotParsed(AlphamillError):
    """A text that cannot be parsed.

    position: 0-based column of the offending character or token.
    expected: what would have been accepted there ("" if nothing can be said).
    suggestion: the nearest valid name or form, or None.
    """

    def __init__(
        self, problem: str, position: int = 0, expected: str = "", suggestion: str | None = None
    ) -> None:
        super().__init__(problem, position, expected, suggestion)
        self.problem = problem
        self.position = position
        self.expected = expected
        self.suggestion = suggestion

    def __str__(self) -> str:
        text = f"col {self.position + 1}: {self.problem}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.suggestion:
            text += f"; did you mean {self.suggestion}?"
        return text


class FactorError(NotParsed):
    """An expression that cannot be parsed, or is out of bounds."""
