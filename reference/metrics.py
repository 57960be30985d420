"""Prometheus metrics, from the families that the exposition is written by."""

from __future__ import annotations

from alphamill.report.prometheus import FAMILIES
from reference.markdown import code, page, table, words


def metrics_page() -> str:
    """Every family with its labels."""
    rows = [
        (
            code(name),
            family.kind,
            " ".join(code(label) for label in family.labels),
            words(family.says),
        )
        for name, family in FAMILIES.items()
    ]
    about = (
        "What `alphamill metrics` serves at `/metrics`, from the ledger itself: two servers of it "
        "never tell more than one. `deploy/prometheus.yml`, `deploy/alerts.yml` and "
        "`deploy/grafana/` read it."
    )
    return page("Metrics", about, table(("metric", "kind", "labels", "says"), rows))
