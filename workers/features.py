"""The features pool's doorways."""

from __future__ import annotations

from alphamill.jobs import FeaturesJob, PanelJob
from alphamill.stages import features, panel
from workers.task import Facts, JobContext, task


@task("features", FeaturesJob)
def compute_features(job: FeaturesJob, at: JobContext) -> Facts:
    """Compute a symbol's indicators into the lake. Safe to repeat."""
    lake = at.tools.lake(at.tools.spec(at.run_id).lake)
    return features.run(job, features.FeaturesDeps(lake)).to_message()


@task("panel", PanelJob)
def build_panel(job: PanelJob, at: JobContext) -> Facts:
    """Take the run's snapshot of all symbols, cut into segments. Safe to repeat."""
    spec = at.tools.spec(at.run_id)
    return panel.run(job, panel.PanelDeps(at.tools.lake(spec.lake), spec)).to_message()
