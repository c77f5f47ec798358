"""Drawn figures as elements of the report's page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from inferbench.plan.figures import Drawing
from inferbench.settings.spec import Figure

#: Bytes. A drawing above that has some thousand marks, and is smaller and quicker as pixels.
LARGEST_SVG = 1_500_000
#: Pixels: https://developers.google.com/speed/webp/faq
WEBP_SIDE = 16_383


def pictures(drawn: Iterable[Drawing], folder: Path) -> list[tuple[Figure, str | None]]:
    """Each figure with its picture from `folder`, None where that has none; without those whose data are empty."""
    return [
        (figure, _inline(folder / f"{figure.name}.svg", figure.name))
        for figure in (drawing.figure for drawing in drawn)
        if not _is_empty(folder / f"{figure.name}.csv")
    ]


def _is_empty(data: Path) -> bool:
    """Whether there are plotted data, and they have no row below the names of their columns."""
    if not data.exists():
        return False
    with data.open(encoding="utf-8") as lines:
        return sum(1 for _, _ in zip(lines, range(2), strict=False)) < 2


def _inline(path: Path, prefix: str) -> str | None:
    """The picture as an element for the page; None when there is no such file.

    Pictures in one page share one space of identifiers and styles, so both are given the prefix.
    """
    if not path.exists():
        return None
    pixels = path.with_suffix(".png")
    if path.stat().st_size > LARGEST_SVG and pixels.exists():
        return f'<img alt="" src="{_pixels(pixels)}">'
    svg = path.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    return svg.replace("*{stroke-linejoin", f"#figure-{prefix} svg *{{stroke-linejoin")


def _pixels(path: Path) -> str:
    """A PNG's pixels as a data URL: as WebP in a fifth of the bytes, where they are not too many a side."""
    packed = io.BytesIO()
    picture = Image.open(path).convert("RGB")
    if max(picture.size) <= WEBP_SIDE:
        picture.save(packed, "WEBP", lossless=True)
        kind = "webp"
    else:
        picture.save(packed, "PNG", compress_level=9)
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(packed.getvalue()).decode()}"
