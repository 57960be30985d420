"""What all settings are: frozen objects, of fields that refuse what they cannot be."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Usd = Annotated[float, Field(ge=0)]
Hours = Annotated[str, Field(pattern=r"^([01]\d|2[0-3])-([01]\d|2[0-4])$")]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Word = Annotated[str, Field(pattern=r"^[a-z]*$")]
Variable = Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")]
Url = Annotated[str, Field(pattern=r"^(https?://[^\s@]+)?$")]  # no key in it: it is written down

Header = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Frozen(BaseModel):
    """What all settings are."""

    model_config = ConfigDict(frozen=True, extra="forbid")
