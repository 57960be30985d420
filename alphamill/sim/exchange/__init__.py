"""The simulated exchange: REST, archive and streams over HTTP."""
