"""Drawn figures as elements of the report's page."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from pathlib import Path

from inferbench.figure_list import Figure

#: Bytes. A drawing above that has some ten thousand marks, and is smaller and quicker as pixels.
LARGEST_SVG = 3_000_000


def pictures(drawn: Iterable[Figure], folder: Path) -> list[tuple[Figure, str | None]]:
    """Each figure with its picture from `folder`, None where that has none."""
    return [(figure, _inline(folder / f"{figure.name}.svg", figure.name)) for figure in drawn]


def _inline(path: Path, prefix: str) -> str | None:
    """The picture as an element for the page; None when there is no such file.

    Pictures in one page share one space of identifiers and styles, so both are given the prefix.
    """
    if not path.exists():
        return None
    pixels = path.with_suffix(".png")
    if path.stat().st_size > LARGEST_SVG and pixels.exists():
        return f'<img alt="" src="data:image/png;base64,{base64.b64encode(pixels.read_bytes()).decode()}">'
    svg = path.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    return svg.replace("*{stroke-linejoin", f"#figure-{prefix} svg *{{stroke-linejoin")
