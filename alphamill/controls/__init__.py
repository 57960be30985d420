"""Control arms: the mill against markets whose truth is known, and against its own luck.

markets      synthetic bars with planted formulas, listings, delistings and gaps
planted      one such market mined, and what became of what was planted
direct       a formula that nobody searched for, judged by the same gates
survivors    a market that misleads only whoever leaves its dead coins out
calibration  many of all these: false discoveries, power, whether p-values are uniform
luck         a run's own panel mined with as many random formulas (formulas)
recovered    whether a run over a synthetic market found what was planted there
"""
