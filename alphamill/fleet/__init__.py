"""The fleet at a glance: runs, queues, limits, money, circuits and workers, from Redis alone."""
