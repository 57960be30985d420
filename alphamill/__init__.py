"""Mine alpha factors from Binance market data with LLMs; the library behind the workers.

In a notebook, `import alphamill as am`: `am.lake`, `am.factor`, `am.run`, `am.submit`, `am.Panel`;
see docs/python.md. Each is loaded when it is first asked for, so that importing alphamill costs
nothing; `__init__.pyi` has their types.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# The library needs no producers: `submit` is theirs, and found by name when a person asks for it.
_PUBLIC = {
    "Panel": "alphamill.notebook.panel",
    "factor": "alphamill.notebook.factor",
    "open_lake": "alphamill.notebook.lake",
    "run": "alphamill.notebook.run",
    "sample_lake": "alphamill.notebook.sample",
}
_MODULES = {"lake": "alphamill.lake", "submit": "producers.submit.in_python"}

__all__ = ["Panel", "__version__", "factor", "lake", "open_lake", "run", "sample_lake", "submit"]


def __getattr__(name: str) -> Any:
    """What is public, loaded now (PEP 562)."""
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _PUBLIC:
        raise AttributeError(f"module 'alphamill' has no attribute {name!r}", name=name, obj=None)
    found = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
