"""deploy/: the dashboard and the alarms ask for figures, and labels of theirs, that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from alphamill.report.prometheus import FAMILIES

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
# Where a metric's own braces or a legend name labels.
_METRIC = re.compile(r"(alphamill_\w+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


def dashboard() -> dict:
    return json.loads((DEPLOY / "grafana/alphamill.json").read_text(encoding="utf-8"))


def rules() -> list[dict]:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Each PromQL expression, and what its result is labelled with."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
    for rule in rules():
        yield rule["expr"], rule["annotations"]["summary"]


@pytest.mark.parametrize(("expression", "told"), list(expressions()))
def test_every_figure_and_label_asked_for_exists(expression, told):
    asked = _METRIC.findall(expression)
    assert asked or expression.startswith("up{"), expression
    labels = set()
    for name, braces in asked:
        assert name in FAMILIES, name
        labels |= set(FAMILIES[name].labels)
        assert set(_LABEL.findall(braces)) <= set(FAMILIES[name].labels), expression
    for grouped in re.findall(r"(?:by|on) \(([^)]+)\)", expression):
        assert set(grouped.split(", ")) <= labels, expression
    shown = set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", told))
    assert shown <= labels, told
    assert expression.count("(") == expression.count(")")
    if grouped := re.search(r"^(?:60 \* |topk\(20, )?(?:sum|count) by \(([^)]+)\)", expression):
        assert shown <= set(grouped[1].split(", ")), "what was added up over cannot be shown"


def test_a_counter_is_rated_and_a_gauge_is_not():
    for expression, _ in expressions():
        rated = set(re.findall(r"rate\((alphamill_\w+)", expression))
        asked = {name for name, _ in _METRIC.findall(expression)}
        assert rated == {name for name in asked if FAMILIES[name].kind == "counter"}, expression


def test_every_alarm_says_what_is_wrong_and_how_bad_it_is():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")


def test_panels_do_not_lie_over_each_other():
    taken = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, panel["title"]
                taken.add((x, y))


def test_the_provisioned_paths_are_where_compose_puts_the_files():
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text(encoding="utf-8"))
    mounts = [m.split(":") for m in compose["services"]["grafana"]["volumes"]]
    at = {source: target for source, target, *_ in mounts}
    provider = yaml.safe_load((DEPLOY / "grafana/dashboards.yml").read_text(encoding="utf-8"))
    [one] = provider["providers"]
    assert at["./deploy/grafana/alphamill.json"].startswith(one["options"]["path"] + "/")
    source = yaml.safe_load((DEPLOY / "grafana/datasource.yml").read_text(encoding="utf-8"))
    [prometheus] = source["datasources"]
    assert {p["datasource"]["uid"] for p in dashboard()["panels"]} == {prometheus["uid"]}
