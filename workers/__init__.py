"""Celery: the app, the task wrapper and one doorway a stage. Nothing here decides about markets."""
