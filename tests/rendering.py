"""What a terminal of a given width shows of tables and other renderables."""

import io

from rich.console import Console, RenderableType


def shown(renderable: RenderableType, width: int = 80) -> str:
    """Its text, without colours."""
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, color_system=None).print(renderable)
    return out.getvalue()
