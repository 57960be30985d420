"""Until when models' training data reaches: a dated table, which settings add to."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from alphamill.llm.messages import same_model
from alphamill.settings import TrainingCutoff


@dataclass(frozen=True, slots=True)
class CutoffTable:
    """Cut-offs by model name; a dated variant has that of the name that it dates."""

    listed: Mapping[str, TrainingCutoff]

    @classmethod
    def shipped(cls, extra: Mapping[str, TrainingCutoff] | None = None) -> CutoffTable:
        """The table of `cutoffs.toml`; `extra` (settings.llm.cutoffs) is added and wins."""
        text = files("alphamill.llm").joinpath("cutoffs.toml").read_text(encoding="utf-8")
        rows = tomllib.loads(text)["models"]
        listed = {name: TrainingCutoff.model_validate(row) for name, row in rows.items()}
        return cls(listed | dict(extra or {}))

    def of(self, model: str) -> TrainingCutoff | None:
        """What is known of a model as a reply names it; None for nothing.

        Of several names that it dates the latest day, since it may be any of them.
        """
        if model in self.listed:
            return self.listed[model]
        found = [row for name, row in self.listed.items() if same_model(name, model)]
        return max(found, key=lambda row: row.until, default=None)
