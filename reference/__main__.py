"""Write the pages into a folder; what else lies there as a page is removed."""

from __future__ import annotations

import sys
from pathlib import Path

from reference import pages


def main(folder: Path) -> None:
    """Write every page, in UTF-8."""
    folder.mkdir(parents=True, exist_ok=True)
    written = pages()
    for old in folder.glob("*.md"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
