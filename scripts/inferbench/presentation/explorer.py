"""The report's explorer: a plot of every cell whose axes and filters the reader chooses, without a network.

Vega-Lite draws it. What is here is the form of the plot, as altair writes it, and the data; the page's
`explorer.js` fills in what the reader chose.
"""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Iterable
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from inferbench.plan.cells import Cell, command
from inferbench.presentation.cell_columns import Numbers, Words
from inferbench.presentation.page_tables import PAGE
from inferbench.presentation.style import INK, Style, precision_styles
from inferbench.presentation.words import PRECISIONS, split_axes
from inferbench.settings.repository import PAGE_DIR
from inferbench.tables import terms

SCRIPT = PAGE_DIR / "explorer.js"
#: matplotlib's markers as Vega names them or, where it has no name, as a path in a square from -1 to 1.
_SHAPES = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "^": "triangle-up",
    "<": "triangle-left",
    "v": "triangle-down",
    ">": "triangle-right",
    "P": "cross",
    "X": "M-1,-.5L-.5,-1L0,-.5L.5,-1L1,-.5L.5,0L1,.5L.5,1L0,.5L-.5,1L-1,.5L-.5,0Z",
    "p": "M0,-1L.95,-.31L.59,.81L-.59,.81L-.95,-.31Z",
    "h": "M0,-1L.87,-.5L.87,.5L0,1L-.87,.5L-.87,-.5Z",
}


def explorer(
    columns: dict[str, Words | Numbers], summary: pd.DataFrame, campaign: dict[str, Any]
) -> dict[str, str]:
    """The page's parts: `library` and `script` are JavaScript, `data` is JSON; all fit in script elements."""
    data = {
        "cells": summary["cell"].tolist(),
        "valid": summary["valid"].astype(int).tolist(),
        "columns": {
            name: {"title": column.title, "in_table": column.in_table, **column.data()}
            for name, column in columns.items()
        },
        "axes": list(terms.AXES),
        "varying": split_axes(summary, list(terms.AXES))[1],
        "page_rows": PAGE,
        "command": _command(summary, campaign),
        "styles": _styles(columns["precision"].order),
        "plots": {"words": _plot(by_words=True), "numbers": _plot(by_words=False)},
    }
    return {"library": _library(), "script": SCRIPT.read_text(encoding="utf-8"), "data": as_script(data)}


def as_script(data: Any) -> str:
    """JSON that an HTML script element may hold: no text in it can end the element or open a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@functools.cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed, with all that they need, as one script."""
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return vl_convert.javascript_bundle(vl_version=version)


def _command(summary: pd.DataFrame, campaign: dict[str, Any]) -> dict[str, Any]:
    """What the command of every cell begins with, and the different `ends` with which end it has: its axes stand
    between, a word each."""
    ends: dict[str, int] = {}
    end = []
    for cell in summary[list(terms.AXES)].to_dict("records"):
        axes = shlex.join(f"{axis}={value}" for axis, value in cell.items())
        before, _, after = command(campaign, Cell(**cell)).partition(axes)
        end.append(ends.setdefault(after, len(ends)))
    return {"before": before, "ends": list(ends), "end": end}


def _styles(precisions: Iterable[str]) -> dict[str, list[list[str]]]:
    """(colour, shape) of each precision in their order, and of other groups in turn."""

    def drawn(styles: Iterable[Style]) -> list[list[str]]:
        return [[style.colour, _SHAPES[style.marker]] for style in styles]

    return {
        "precision": drawn(precision_styles(precisions).values()),
        "others": drawn(precision_styles(PRECISIONS).values()),
    }


def _plot(by_words: bool) -> dict[str, Any]:
    """Vega-Lite of one plot: cells side by side over words, or spread over a second quantity.

    Its data have a row per cell: place, x, y, group, valid, the ends of intervals where there are any
    (x_low, x_high, low, high), and the texts of the tooltip (cell, value, across, flags).
    """
    rows = alt.Chart()
    colour = alt.Color("group:N").legend(orient="top", symbolLimit=30, title=None)
    shape = alt.Shape("group:N")
    tooltip = ["cell:N", "value:N", "across:N", "flags:N"]
    points = {"size": 70, "strokeWidth": 1.5}
    layers = [
        # Below the marks, which would else be pointed at through it.
        rows.mark_point(size=320, color=INK, strokeWidth=2).transform_filter("datum.place === chosen"),
        rows.mark_rule(strokeWidth=1.2).transform_filter("datum.low != null")
        .encode(alt.Y("low:Q"), alt.Y2("high:Q"), colour),
        rows.mark_point(filled=True, opacity=0.9, **points).transform_filter("datum.valid")
        .encode(colour, shape, tooltip=tooltip),
        rows.mark_point(filled=False, fill="white", **points).transform_filter("!datum.valid")
        .encode(colour, shape, tooltip=tooltip),
    ]  # fmt: skip
    x = alt.X("x:N").axis(labelAngle=0, labelLimit=110) if by_words else alt.X("x:Q")
    shared = {"x": x, "y": alt.Y("y:Q")}
    if by_words:
        shared["xOffset"] = alt.XOffset("group:N")
    else:
        layers.insert(
            0,
            rows.mark_rule(strokeWidth=1.2)
            .transform_filter("datum.x_low != null")
            .encode(alt.X("x_low:Q"), alt.X2("x_high:Q"), colour),
        )
    plot = alt.layer(*layers, data=alt.NamedData("cells")).encode(**shared)
    plot = plot.properties(width="container", height=420, background="white")
    plot = plot.configure(font="system-ui, sans-serif").configure_axis(labelFontSize=12, titleFontSize=13)
    plot = plot.configure_legend(labelFontSize=13, symbolSize=90, labelLimit=0)
    return plot.add_params(alt.param("chosen", value=-1)).to_dict()
