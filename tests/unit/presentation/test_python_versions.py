"""Figures and tables are the same in every Python: from 3.12 on the built-in sum of floats is compensated."""

import builtins
import math
from functools import reduce
from operator import add

import pytest

import redraw_published
from inferbench.analysis.diversity import self_bleu
from inferbench.experiments.batching import table as batching_table
from inferbench.experiments.speculative import table as speculative_table
from inferbench.tables import derive

BUILT_IN = builtins.sum


def compensated(values, start=0):
    """The built-in sum of Python 3.12: that of Python's own floats (numpy's not among them) is exact, or nearly."""
    values = [start, *values]
    own = {type(value) for value in values}
    return math.fsum(values) if float in own and own <= {int, float} else BUILT_IN(values[1:], start)


def plain(values, start=0):
    """The built-in sum of Python 3.11."""
    return reduce(add, values, start)


def test_published_figures_come_out_where_sums_are_compensated(tmp_path, monkeypatch, capsys):
    """They were drawn by Python 3.11. The heights of this campaign's panels are floats whose two sums differ."""
    monkeypatch.setattr(builtins, "sum", compensated)
    assert redraw_published.main(["context", "--output", str(tmp_path)]) == 0, capsys.readouterr().out


def speeds_of_a_cell():
    iteration = {"ttft_ms": 4.0, "itl_ms": [0.1] * 10, "new_tokens": 11}
    return derive.speeds({"prompt_tokens_mean": 10.0}, [iteration], batch_size=1)


def speeds_of_batching():
    prompt = {"round": 1, "ttft_ms": 20.0, "seconds": 0.1, "prompt_tokens": 10, "tokens": [1, 2]}
    return batching_table.speeds([prompt | {"batched": way} for way in (False, True) for _ in range(10)])


def row_of_speculation():
    run = {
        "prompt": 1,
        "decode_ms": 0.1,
        "decoded_tokens": 2,
        "draft_passes": 3,
        "proposed": [4],
        "accepted": [1],
    }
    runs = [run | {"mode": mode} for mode in ("plain", "speculative") for _ in range(10)]
    costs = {"main_step_ms": 1.0, "check_ms": 1.1, "proposal_ms": 0.4, "host_bound": False}
    settings = {"draft_tokens": 4, "strategy": {"do_sample": True}}
    return speculative_table.rows({"experiment": settings}, costs, runs)


def likeness_of_texts():
    return self_bleu([["a b c d e f", "a b c d"]])


@pytest.mark.parametrize(
    "compute", [speeds_of_a_cell, speeds_of_batching, row_of_speculation, likeness_of_texts]
)
def test_tables_do_not_depend_on_how_the_built_in_sum_adds(monkeypatch, compute):
    found = []
    for one in (plain, compensated):
        monkeypatch.setattr(builtins, "sum", one)
        found.append(compute())
    assert found[0] == found[1]
