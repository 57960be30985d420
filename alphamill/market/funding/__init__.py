"""Funding settlements of perpetual futures: parsed, fetched, read from archive files."""
