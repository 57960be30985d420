"""The documentation's reference, written anew from the records that the program itself reads.

    python -m reference docs/reference

Nothing of it is committed: a page cannot differ from the code that it is of.
"""

from reference.pages import pages

__all__ = ["pages"]
