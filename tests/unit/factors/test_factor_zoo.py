"""The shipped collections: what they say is what their source says."""

import subprocess
import sys

import pytest

from alphamill.factors import FactorError, compute, parse, zoo, zoo_names


def test_every_zoo_entry_says_what_the_paper_says(formulas):
    entries = zoo("alpha101")
    assert [entry.name for entry in entries] == [f"alpha101_{n:03d}" for n in range(1, 102)]
    for number, entry in enumerate(entries, 1):
        paper = parse(formulas[number], dialect="alpha101")
        assert entry.factor().hash == paper.hash, entry.name
        assert entry.reference.endswith(f"appendix A, {number}")


def test_the_zoo_computes_and_only_number_56_needs_capitalisations(make_market, groups):
    panel = make_market(n_bars=60)
    cap = panel.pop("cap")
    with_cap = [entry.name for entry in zoo("alpha101") if "cap" in entry.factor().fields]
    assert with_cap == ["alpha101_056"]
    factor = zoo("alpha101")[55].factor()
    with pytest.raises(FactorError, match="no field 'cap'"):
        compute(factor, panel, groups)
    assert (compute(factor, {**panel, "cap": cap}, groups)[20:, 0] < 0).mean() > 0.5


def test_zoos_are_named():
    assert zoo_names() == ("alpha101",)
    with pytest.raises(FactorError, match="unknown zoo 'alpha191'; expected alpha101"):
        zoo("alpha191")


def test_a_zoo_is_read_without_a_compiler():
    code = "import sys, alphamill.factors as f; f.zoo('alpha101'); print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
