"""Simulators for offline use, demos and fault tests.

`exchange` speaks Binance's market-data REST API from recorded or synthetic bars. A simulator is
never the only ground of a claim, and everything it serves says that it is simulated.
"""
