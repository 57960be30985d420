"""What the kernels share: how they are compiled, and what counts as equal."""

from alphamill.jit import SharedCacheFile, inline, kernel

__all__ = ["NOISE", "TIE", "SharedCacheFile", "inline", "kernel"]

NOISE = 4 * 2.0**-52
"""A spread below this fraction of the level is rounding, not a spread."""

TIE = 2.0**-40
"""Values that agree to this fraction (12 digits) tie in a ranking."""
