"""The table of models' training data: dated, sourced, the user's wins, and nothing invented."""

import tomllib
from importlib.resources import files

import pytest
from pydantic import ValidationError

from alphamill.llm.cutoffs import CutoffTable
from alphamill.settings import Settings, TrainingCutoff

SHIPPED = tomllib.loads(files("alphamill.llm").joinpath("cutoffs.toml").read_text("utf-8"))


def test_every_row_says_where_and_when_it_was_read():
    assert SHIPPED["models"]
    for name, row in SHIPPED["models"].items():
        assert row.keys() == {"until", "source", "as_of"}, name
        assert row["source"], name
        assert row["until"] == "untrained" or row["until"] < row["as_of"], name


def test_a_dated_variant_has_the_cutoff_of_its_name_and_another_model_none():
    table = CutoffTable.shipped()
    assert table.of("gpt-4o-2024-08-06").until == table.of("gpt-4o").until
    assert table.of("openai/gpt-6.1-terra") == table.of("gpt-6.1-terra")
    assert table.of("offline-proposer").until == "untrained"
    for other in ("gpt-6.1-terra-mini", "gpt-6", "kimi-k3", "my-model", ""):
        assert table.of(other) is None


def test_of_several_names_that_it_dates_the_latest_counts():
    rows = {"m": TrainingCutoff(until="2025-01-31"), "vendor/m": TrainingCutoff(until="2025-06-30")}
    assert CutoffTable(rows).of("m-2025-09-01").until == "2025-06-30"


def test_the_users_row_wins():
    text = """
    [llm.cutoffs]
    "my-model" = "2025-03-31"
    [llm.cutoffs."gpt-4o"]
    until = "2024-12-31"
    source = "its card"
    as_of = "2026-12-01"
    """
    table = CutoffTable.shipped(Settings.model_validate(tomllib.loads(text)).llm.cutoffs)
    assert table.of("my-model") == TrainingCutoff(until="2025-03-31", source="settings")
    assert (table.of("gpt-4o").until, table.of("gpt-4o").source) == ("2024-12-31", "its card")
    assert table.of("gpt-4o-mini").until == "2023-10-31"


@pytest.mark.parametrize("until", ["2025-02-30", "2025-02", "soon", ""])
def test_what_is_no_day_is_refused(until):
    with pytest.raises(ValidationError, match="until"):
        TrainingCutoff(until=until)
    with pytest.raises(ValidationError, match="my-model"):
        Settings.model_validate({"llm": {"cutoffs": {"my-model": until}}})
