"""Commands that run processes: workers, simulators, the demo, the benches."""
