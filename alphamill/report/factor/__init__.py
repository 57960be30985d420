"""The page of one factor: its series, its plots, its certificate.

tear_sheet   the series, computed from the panel that the run kept
laid_out     the sheet laid end to end, and what plots over time have in common
predicts, earns, alike   at most eight plots, each with a question for its title
certificate  what stands behind the verdict
"""
