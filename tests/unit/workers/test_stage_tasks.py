"""The tasks of the stages: their names, and the queues that they wait in."""

from workers.app import app


def test_task_names_and_queues_are_those_that_messages_on_their_way_have():
    """A message may be older than the worker that takes it: a name that changes loses it."""
    app.loader.import_default_modules()
    queues = {
        "fetch": ["fetch", "funding", "wide", "reverify", "recheck", "bars"],
        "features": ["features", "panel"],
        "evaluate": ["evaluate", "score", "combine", "validate", "rank", "verify"],
        "llm.quick_scan": ["propose.quick_scan"],
        "llm.detailed_analysis": ["propose.detailed_analysis"],
        "llm.final_verification": ["veto"],
        "control": ["publish", "sweep", "check_lives"],
    }
    routes = {f"alphamill.{name}": queue for queue, names in queues.items() for name in names}
    assert {name for name in app.tasks if name.startswith("alphamill.")} == set(routes)
    assert {name: one["queue"] for name, one in app.conf.task_routes.items()} == routes
    assert {queue.name for queue in app.conf.task_queues} == set(queues)
