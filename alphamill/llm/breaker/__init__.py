"""A circuit breaker a model endpoint, shared by all workers."""
