"""The features pool's doorways."""

from __future__ import annotations

from alphamill.jobs import FeaturesJob, PanelJob
from alphamill.stages import features, panel
from workers.resources import Resources
from workers.task import Facts, task


@task("features", FeaturesJob)
def compute_features(job: FeaturesJob, run_id: str, tools: Resources) -> Facts:
    """Compute a symbol's indicators into the lake. Safe to repeat."""
    lake = tools.lake(tools.spec(run_id).lake)
    return features.run(job, features.FeaturesDeps(lake)).to_message()


@task("panel", PanelJob)
def build_panel(job: PanelJob, run_id: str, tools: Resources) -> Facts:
    """Take the run's snapshot of all symbols, cut into segments. Safe to repeat."""
    spec = tools.spec(run_id)
    return panel.run(job, panel.PanelDeps(tools.lake(spec.lake), spec)).to_message()
