"""What people read: tables for the terminal and one self-contained page a run.

Pure functions of plain dicts. Text that a model or a user wrote is data: it is never markup.
"""
