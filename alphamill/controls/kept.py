"""Results of searches in the run's lake, seed by seed as they come: who is interrupted goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from alphamill.controls.own_bars import Searched
from alphamill.errors import GiveUp
from alphamill.fleet.identity import build
from alphamill.jobs import content_id
from alphamill.lake import Lake, run_key
from alphamill.runs.published import PublishedRun


@dataclass(frozen=True, slots=True)
class KeptSearches:
    """Of one arm with one set of settings, bars and code. folder: where they lie in the lake."""

    lake: Lake
    folder: str

    @classmethod
    def of(cls, run: PublishedRun, arm: str, settings: Mapping[str, Any]) -> KeptSearches:
        """settings: all beside the run that a search of that arm depends on, but for its seed."""
        asked = {
            "run": run.id,
            "panels": [manifest.snapshot for manifest in run.manifests],
            "build": build().label,
            **settings,
        }
        return cls(run.lake, run_key(run.id, f"bench/search={content_id(arm, asked)}"))

    def key(self, seed: int) -> str:
        """Where a seed's result lies."""
        return f"{self.folder}/seed-{seed}.json"

    def keep(self, found: Searched) -> None:
        """Written whole or not at all."""
        self.lake.write_bytes(self.key(found.seed), json.dumps(found.to_dict()).encode())

    def known(self, seeds: Iterable[int]) -> list[Searched]:
        """Those of the seeds that were searched whole. Raises GiveUp for a damaged file."""
        there = set(self.lake.list(self.folder))
        found = [self._read(self.key(seed)) for seed in seeds if self.key(seed) in there]
        return [one for one in found if not one.failed]

    def _read(self, key: str) -> Searched:
        try:
            return Searched.from_dict(json.loads(self.lake.read_bytes(key)))
        except (ValueError, KeyError, TypeError) as error:
            raise GiveUp(f"{key} in {self.lake.uri} is damaged; remove it") from error
