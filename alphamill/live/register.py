"""Which lives there are: `lives/ID.json` in the lake, which outlasts any Redis."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from pydantic import ValidationError

from alphamill.errors import GiveUp
from alphamill.lake import Lake
from alphamill.live.spec import LiveSpec

_FOLDER = "lives"


@dataclass(frozen=True, slots=True)
class Entry:
    """A live as it was asked for. Times are UTC epoch milliseconds.

    webhook: where rows are sent, "" for nowhere; no part of the id.
    """

    spec: LiveSpec
    started_ms: int
    stopped_ms: int | None = None
    webhook: str = ""

    @property
    def id(self) -> str:
        """The spec's."""
        return self.spec.id

    @property
    def active(self) -> bool:
        """Whether it is to be followed."""
        return self.stopped_ms is None


class Register:
    """The lives of a lake."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def start(self, spec: LiveSpec, now_ms: int, webhook: str = "") -> Entry:
        """The live, begun or joined. One that was stopped goes on, and its chain with it."""
        known = self.find(spec.id)
        if known is not None and known.active and webhook in ("", known.webhook):
            return known
        begun = Entry(spec, now_ms if known is None else known.started_ms, None, webhook)
        if known is not None and not webhook:
            begun = replace(begun, webhook=known.webhook)
        self._write(begun)
        return begun

    def stop(self, live: str, now_ms: int) -> Entry:
        """Follow it no more. Raises GiveUp where there is no such live."""
        known = self.find(live)
        if known is None:
            raise GiveUp(f"there is no live {live}")
        stopped = replace(known, stopped_ms=known.stopped_ms or now_ms)
        self._write(stopped)
        return stopped

    def find(self, live: str) -> Entry | None:
        """The live of that id. GiveUp for a damaged file."""
        key = f"{_FOLDER}/{live}.json"
        try:
            found = json.loads(self._lake.read_bytes(key))
            stopped_ms = found["stopped_ms"]
            return Entry(
                LiveSpec.from_message(found["spec"]),
                int(found["started_ms"]),
                None if stopped_ms is None else int(stopped_ms),
                str(found.get("webhook", "")),
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise GiveUp(f"{key!r} is damaged: {error}") from error  # a name may hold anything

    def survey(self) -> tuple[list[Entry], dict[str, str]]:
        """Every live that can be read, by id, and by its id why any other cannot."""
        entries, damaged = [], {}
        for key in self._lake.list(_FOLDER):
            if key.endswith(".json"):
                name = key.rpartition("/")[2].removesuffix(".json")
                try:
                    if (entry := self.find(name)) is not None:
                        entries.append(entry)
                except GiveUp as error:
                    damaged[name] = str(error)
        return entries, damaged

    def _write(self, entry: Entry) -> None:
        content = {
            "spec": entry.spec.to_message(),
            "started_ms": entry.started_ms,
            "stopped_ms": entry.stopped_ms,
            "webhook": entry.webhook,
        }
        text = json.dumps(content, indent=1, sort_keys=True)
        self._lake.write_bytes(f"{_FOLDER}/{entry.id}.json", text.encode())
