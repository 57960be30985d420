"""Klines: parsed, fetched, read from archive files."""
