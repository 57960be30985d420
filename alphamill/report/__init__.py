"""What people read of a run: views for the terminal and one self-contained page.

Values in, text out: nothing here calls out or submits. Text that a model or a user wrote is data:
it is never markup.
"""
