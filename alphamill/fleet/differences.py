"""In what workers differ from this process and from each other, and whether that matters."""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from alphamill.fleet.identity import Build, Identity, identity
from alphamill.jobs import Queue
from alphamill.ledger.presence import Presence, Worker
from alphamill.settings import Settings

Kind = Literal["untold", "code", "library", "key", "setting"]

_NAMED = 4  # workers that a sentence names
_LLM = {Queue.QUICK_SCAN.value, Queue.DETAILED_ANALYSIS.value, Queue.FINAL_VERIFICATION.value}
# Which settings of its own a worker goes by, by the queues that it reads; None: on any of them.
# Of the others a run brings its own, as its submitter had them.
_OWN: Mapping[str, frozenset[str] | None] = {
    "broker_url": None,
    "ledger.": None,
    "binance.": frozenset({Queue.FETCH.value}),
    "budget.day_usd": frozenset(_LLM),
    "llm.": frozenset(_LLM),
}
_BROUGHT = re.compile(
    r"llm\.tiers\.\w+\.(fallbacks\[\d+\]\.)?"
    r"(model|reasoning_effort|extra_body.*|price.*|max_tokens|temperature|debit)"
    r"|llm\.tiers\.\w+\.fallbacks"
)
_NOT_SET = ("", "null", "[]")
_OF_ONE_MACHINE = {"binance.egress"}  # meant to be another on each


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which a worker is not as this process.

    name: of the setting or library, or what a key is for. theirs, here: the two values; of a key
    no value, but "another", "none" or "set". matters: False where runs bring their own.
    """

    kind: Kind
    name: str
    theirs: str
    here: str
    matters: bool = True

    def __str__(self) -> str:
        match self.kind:
            case "untold":
                return "runs code from before workers said what they run with"
            case "code":
                return f"runs other code: {self.theirs}, here {self.here}"
            case "library":
                return f"computes with {self.name} {self.theirs}, here {self.here}"
            case "key":
                return _about_key(self)
        brought = "" if self.matters else " (a run brings its own)"
        return f"{self.name}: worker {_said(self.theirs)}, here {_said(self.here)}{brought}"


def _about_key(found: Difference) -> str:
    if found.here == "others":
        return f"has another key for {found.name} than other workers"
    if found.theirs == "none":
        return f"has no key for {found.name}, and this shell has one"
    return f"has another key for {found.name} than this shell"


def _said(text: str) -> str:
    return "not set" if text in _NOT_SET else text


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference and the workers that have it."""

    difference: Difference
    workers: tuple[Worker, ...]

    @property
    def who(self) -> str:
        """For example "the llm worker on box2 (pid 41)"."""
        named = [f"{pool_of(one)} on {one.host or '?'} (pid {one.pid})" for one in self.workers]
        if len(named) == 1:
            return f"the {pool_of(self.workers[0])} worker" + named[0].removeprefix(
                pool_of(self.workers[0])
            )
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        return f"{len(named)} workers ({', '.join(named[:_NAMED])}{more})"

    @property
    def cure(self) -> str:
        """What to do about it."""
        them = "it" if len(self.workers) == 1 else "them"
        if self.difference.kind == "key":
            return f"set the right key where {them} starts, and restart {them}"
        if self.difference.kind == "setting":
            return f"give all machines the same settings, and restart {them}"
        return f"restart {them}, on the same version everywhere"

    def __str__(self) -> str:
        return f"{self.who}: {self.difference}"


def pool_of(worker: Worker) -> str:
    """What a worker is called by what it reads."""
    return worker.pool or "/".join(worker.queues)


def told_by(presence: Presence, workers: Iterable[Worker]) -> dict[str, Identity]:
    """The identities of workers, by their ids; those that cannot be read are left out."""
    found = {}
    for name, message in presence.identities(worker.identity for worker in workers).items():
        try:
            found[name] = Identity.from_message(message)
        except (LookupError, TypeError, ValueError):  # told by another version
            continue
    return found


def compared(presence: Presence, settings: Settings, workers: Sequence[Worker]) -> list[Finding]:
    """In what these workers differ from a process with these settings; asks Redis what they told.

    Costs some 20 ms of processor time, and 50 ms for each key that the settings hold.
    """
    if not workers:
        return []
    own = identity(settings, presence.salt())
    return findings(own, workers, told_by(presence, workers))


def findings(
    here: Identity, workers: Sequence[Worker], identities: Mapping[str, Identity]
) -> list[Finding]:
    """Every difference with the workers that have it; what matters first, then by kind and name.

    A worker whose identity is not known counts as untold.
    """
    found: dict[Difference, list[Worker]] = {}
    for worker in workers:
        its = identities.get(worker.identity)
        for difference in _of(worker, its, here):
            found.setdefault(difference, []).append(worker)
    for difference, one in _among_themselves(here, workers, identities):
        found.setdefault(difference, []).append(one)
    order: list[Kind] = ["untold", "code", "library", "key", "setting"]
    rows = [Finding(difference, tuple(who)) for difference, who in found.items()]
    return sorted(
        rows,
        key=lambda row: (
            not row.difference.matters,
            order.index(row.difference.kind),
            row.difference.name,
        ),
    )


def _of(worker: Worker, its: Identity | None, here: Identity) -> Iterator[Difference]:
    if its is None:
        yield Difference("untold", "", "", "")
        return
    yield from builds_differ(its.build, here.build)
    if its.salt == here.salt:
        yield from _keys(worker, its, here)
    for name in sorted(its.settings.keys() | here.settings.keys()):
        theirs, ours = its.settings.get(name, ""), here.settings.get(name, "")
        same = theirs == ours or (theirs in _NOT_SET and ours in _NOT_SET)
        if same or name in _OF_ONE_MACHINE:
            continue
        matters = _goes_by(worker, name)
        if matters is not None:
            yield Difference("setting", name, theirs, ours, matters)


def builds_differ(theirs: Build, here: Build) -> Iterator[Difference]:
    """In what two builds differ: code, and each library."""
    if (theirs.version, theirs.code) != (here.version, here.code):
        yield Difference("code", "", _code(theirs), _code(here))
    for name in sorted(theirs.libraries.keys() & here.libraries.keys()):
        if theirs.libraries[name] != here.libraries[name]:
            yield Difference("library", name, theirs.libraries[name], here.libraries[name])


def _code(build: Build) -> str:
    return f"{build.version} ({build.code})"


def _goes_by(worker: Worker, name: str) -> bool | None:
    """Whether a worker goes by a setting of its own; None where it has no use for it at all."""
    if name == "lake":  # a run's path must lead to the same place there, as it does on one machine
        return worker.host != socket.gethostname()
    if _BROUGHT.fullmatch(name):
        return False if _LLM & set(worker.queues) else None
    for beginning, queues in _OWN.items():
        if name.startswith(beginning):
            return True if queues is None or queues & set(worker.queues) else None
    return False


def _keys(worker: Worker, its: Identity, here: Identity) -> Iterator[Difference]:
    if not _LLM & set(worker.queues):
        return
    wrong = {
        name: "another" if its.keys[name] else "none"
        for name, digest in here.keys.items()
        if digest and name in its.keys and its.keys[name] != digest
    }
    for theirs in ("another", "none"):
        named = [name for name, how in wrong.items() if how == theirs]
        for place, tiers in _by_place(named).items():
            yield Difference("key", f"{place} ({tiers})", theirs, "set")


def _by_place(names: Iterable[str]) -> dict[str, str]:
    """From "quick_scan[0] at https://host/v1" to the address and its tiers."""
    found: dict[str, dict[str, None]] = {}
    for name in names:
        tier, _, place = name.partition(" at ")
        found.setdefault(place.partition("://")[2] or place, {})[tier.partition("[")[0]] = None
    return {place: ", ".join(tiers) for place, tiers in found.items()}


def _among_themselves(
    here: Identity, workers: Sequence[Worker], identities: Mapping[str, Identity]
) -> Iterator[tuple[Difference, Worker]]:
    """Keys that this process does not have can only be compared between workers."""
    asking = [one for one in workers if _LLM & set(one.queues) and one.identity in identities]
    salts = Counter(identities[one.identity].salt for one in asking)
    if not salts:
        return
    salt = salts.most_common(1)[0][0]
    digests: dict[str, Counter[str]] = {}
    for one in asking:
        its = identities[one.identity]
        for name, digest in its.keys.items() if its.salt == salt else ():
            if not (here.salt == salt and here.keys.get(name)):
                digests.setdefault(name, Counter())[digest] += 1
    for name, seen in digests.items():
        usual = seen.most_common(1)[0][0]
        for one in asking:
            its = identities[one.identity]
            if its.salt == salt and its.keys.get(name, usual) != usual:
                [(place, tiers)] = _by_place([name]).items()
                theirs = "another" if its.keys[name] else "none"
                yield Difference("key", f"{place} ({tiers})", theirs, "others"), one
