"""Trades: files of the archive and pages of the API, a day at a time."""
