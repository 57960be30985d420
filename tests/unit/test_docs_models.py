"""What the page of models says is what the settings take and the price table holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from alphamill.llm.prices import PriceTable
from alphamill.settings import Tier, load_settings

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs/how-to/models-and-cost.md").read_text(encoding="utf-8")
PRICES = tomllib.loads((REPOSITORY / "alphamill/llm/prices.toml").read_text(encoding="utf-8"))
KEYS = {"DEEPSEEK_API_KEY": "sk-one", "ANTHROPIC_API_KEY": "sk-two"}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def table(header: str) -> list[list[str]]:
    body = PAGE.split(header + "\n", 1)[1].split("\n\n", 1)[0]
    return [cells(line) for line in body.splitlines()[1:]]


def settings_of(folder: Path, toml: str):
    config = folder / "alphamill.toml"
    config.write_text(toml, encoding="utf-8")
    return load_settings({"ALPHAMILL_CONFIG": str(config), **KEYS})


def test_the_example_is_taken_as_it_stands_and_every_model_has_a_price(tmp_path: Path) -> None:
    example, switch = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (switched, *_) = settings_of(tmp_path, switch).llm.tiers[Tier.QUICK_SCAN].models
    assert switched.extra_body == {"thinking": {"type": "disabled"}}
    llm = settings_of(tmp_path, example).llm
    prices = PriceTable.shipped(llm.prices)
    asked = {
        chosen.model: llm.endpoint(chosen) for tier in Tier for chosen in llm.tiers[tier].models
    }
    assert len(asked) == 4
    for tier in Tier:
        for chosen in llm.tiers[tier].models:
            assert prices.of(chosen).at(0).input > 0
    assert llm.key(asked["deepseek-flash"]).get_secret_value() == "sk-one"
    assert llm.key(asked["claude-sonnet-5.5"]).get_secret_value() == "sk-two"
    assert asked["gpt-6-luna"] == llm.common


@pytest.mark.parametrize(
    "row", table("| provider | `url` | a key's variable | mind |"), ids=lambda row: row[0]
)
def test_every_provider_can_be_set(row: list[str], tmp_path: Path) -> None:
    url = row[1].strip("`")
    toml = f'[llm.tiers.quick_scan]\nmodel = "x"\nurl = "{url}"\n'
    toml += "price = { input = 0, output = 0 }\n"
    llm = settings_of(tmp_path, toml).llm
    chosen = llm.tiers[Tier.QUICK_SCAN]
    assert llm.endpoint(chosen).url == url
    assert PriceTable.shipped(llm.prices).of(chosen).at(0).output == 0


def test_the_price_table_is_the_files() -> None:
    rows = table("| model | input | cached | output | read | source |")
    assert len(rows) > 5
    for name, *prices, read, source in rows:
        listed = PRICES["models"][name.strip("`")]
        assert [float(price) for price in prices] == [
            listed[kind] for kind in ("input", "cached_input", "output")
        ]
        assert read == listed["as_of"]
        assert source.startswith(listed["source"])
        assert listed.get("retires", "") in source
