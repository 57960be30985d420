"""The simulated model endpoint and its offline proposer."""
