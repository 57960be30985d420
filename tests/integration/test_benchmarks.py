"""Benchmarks still run, outputs equal and figures finite; their times are judged by nobody."""

import pytest
import table

SHORT = ["page_parsing"]


@pytest.mark.parametrize("name", SHORT)
def test_the_short_form_ends_well_with_figures(name: str) -> None:
    went, figures = table.run(name, short=True, older=None)
    assert went["exit_code"] == 0
    assert figures
