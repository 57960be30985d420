"""What a notebook works with: `import alphamill as am`; see docs/python.md.

lake      am.lake(path): bars as frames, and panels of them
panel     am.Panel: a panel with labels, from and to pandas and polars
factor    am.factor(text): an expression's values, and its Score on a panel
score     that Score, which draws itself
run       am.run(id): a run's tables as frames
names     what to say of a name that is not known
Frames are pandas'; times are UTC. Nothing here writes.
"""
