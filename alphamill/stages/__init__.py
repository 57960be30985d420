"""The steps of a run, one `run(job, deps)` each: the only place where core and edges meet."""
