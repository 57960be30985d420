"""Open interest and long/short ratios of futures: labels read, fetched, read from archive files."""
