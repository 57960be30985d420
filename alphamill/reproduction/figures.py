"""The published figures: a dated file a name, with where each was read."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from alphamill.errors import GiveUp


@dataclass(frozen=True, slots=True)
class Source:
    """Where figures were read. read: the day, ISO. licence: of the source; figures are facts.

    place: a repository's file at a commit, or a paper. url: of a repository that is to be cloned,
    commit: which state of it, sha256: of its files that are read, by path; empty elsewhere.
    """

    place: str
    read: str
    licence: str
    url: str = ""
    commit: str = ""
    sha256: Mapping[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def clone(self) -> str:
        """The command that brings it."""
        folder = self.url.rpartition("/")[2]
        return f"git clone {self.url} && git -C {folder} checkout {self.commit}"

    def file(self, folder: str, path: str) -> Path:
        """A file of a clone in that folder, with the bytes of the commit.

        Raises GiveUp where it is not there or another.
        """
        found = Path(folder).expanduser() / path
        try:
            data = found.read_bytes()
        except OSError as error:
            raise GiveUp(f"{found}: {error.strerror}; bring it with: {self.clone}") from error
        # A clone on Windows may have changed the ends of lines.
        digest = hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()
        if digest != (self.sha256 or {}).get(path):
            raise GiveUp(
                f"{found} is not the file of commit {self.commit}, whose figures are compared; "
                f"git -C {folder} checkout {self.commit} brings that"
            )
        return found


@cache
def figures(name: str) -> dict[str, Any]:
    """The data file of a name: `source`, a table or a list of them, and its figures."""
    text = files("alphamill.reproduction").joinpath(f"{name.replace('-', '_')}.toml")
    return tomllib.loads(text.read_text(encoding="utf-8"))


def source_of(name: str) -> tuple[Source, ...]:
    """Where the figures of a name were read."""
    found = figures(name)["source"]
    return tuple(Source(**one) for one in (found if isinstance(found, list) else [found]))
