"""Control arms: the mill against markets whose truth is known, and against its own luck.

markets      synthetic bars with planted formulas, listings, delistings and gaps
planted      one such market mined, and what became of what was planted
calibration  many of them: false discoveries, power, whether p-values are uniform
luck         a run's own panel mined with as many random formulas
"""
