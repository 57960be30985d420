"""The README's picture of a page: the head and four plots of docs/sample/factor.html.

Taken by a headless Chromium, light and dark, with few colours so that it is small.

Usage: python docs/pictures/page.py docs/sample/factor.html docs/pictures/factor
(writes factor-light.png and factor-dark.png)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_WIDTH, _HEIGHT = 1040, 1600
_COLOURS = 128
# Nothing but the card of the factor, with the plots that fit beside its figures.
_ONLY = """
main > :not(#f1), figure:nth-of-type(n+5), .certificate, details { display: none }
main { padding: 0 } #f1 { margin: 0; border-radius: 0 } .plots { grid-template-columns: 1fr 1fr }
"""
_SCHEMES = {"light": "1", "dark": "0"}  # as Blink counts them


def picture(browser: str, page: Path, scheme: str) -> Image.Image:
    """The card as Chromium draws it, cut where it ends."""
    with tempfile.TemporaryDirectory() as folder:
        shown, taken = Path(folder) / "page.html", Path(folder) / "page.png"
        text = page.read_text(encoding="utf-8").replace("</style>", f"{_ONLY}</style>", 1)
        shown.write_text(text, encoding="utf-8")
        command = [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--window-size={_WIDTH},{_HEIGHT}", f"--screenshot={taken}"),
            *(f"--blink-settings=preferredColorScheme={_SCHEMES[scheme]}", shown.as_uri()),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        image = Image.open(taken).convert("RGB")
    # Below the card is the page's own ground.
    ground = Image.new("RGB", image.size, image.getpixel((0, image.height - 1)))
    _, _, _, end = ImageChops.difference(image, ground).getbbox()
    return image.crop((0, 0, image.width, end))


def main(page: Path, stem: str) -> None:
    """Write the picture in both schemes beside each other."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        sys.exit(f"no browser to take the picture with: install one of {', '.join(_BROWSERS)}")
    for scheme in _SCHEMES:
        few = picture(browser, page, scheme).quantize(_COLOURS, dither=Image.Dither.NONE)
        few.save(f"{stem}-{scheme}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
