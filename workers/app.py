"""The Celery app: `celery -A workers.app worker -Q fetch -P threads -c 8`."""

from celery import Celery

app = Celery(
    "alphamill",
    config_source="celeryconfig",
    include=[
        "workers.fetch",
        "workers.features",
        "workers.llm",
        "workers.evaluate",
        "workers.control",
    ],
)
