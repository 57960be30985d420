"""Celery: the app, a task a stage, and what a process opens. Nothing here decides about markets."""
