"""The table, the expected speed-up and the sentences of speculation, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from inferbench.analysis.experiment_tables import table_schema
from inferbench.experiments.speculative import table as speculative_table
from inferbench.experiments.speculative.figures import draw
from inferbench.experiments.speculative.section import section
from inferbench.experiments.speculative.table import (
    COLUMNS,
    break_even,
    by_cell,
    counts,
    expected_speedup,
    rows,
    wilson,
)
from inferbench.tables.schema import validate


def test_expected_speedup_by_hand():
    # No cost: 1 + 0.5 + 0.25 tokens for one pass.
    assert expected_speedup(0.5, 2, 0.0) == pytest.approx(1.75)
    # (1 - 0.8^5) / 0.2 = 3.3616 tokens for 4 x 0.1 + 1 steps; for 4 x 0.1 + 1.2 with a dearer check.
    assert expected_speedup(0.8, 4, 0.1) == pytest.approx(3.3616 / 1.4)
    assert expected_speedup(0.8, 4, 0.1, 1.2) == pytest.approx(3.3616 / 1.6)
    # All kept: 5 tokens for 5 passes of a draft as dear as the main model. None kept: 1 for 1 + 2.
    assert expected_speedup(1.0, 4, 1.0) == pytest.approx(1.0)
    assert expected_speedup(0.0, 4, 0.5) == pytest.approx(1 / 3)
    # Half of the passes propose nothing: (1.75 + 1) tokens for (1.5 + 1) steps.
    assert expected_speedup(0.5, 2, 0.0, 1.5, proposing_share=0.5) == pytest.approx(2.75 / 2.5)


def test_break_even_by_hand():
    # 1 + a + a^2 = 1.75 at a = 0.5.
    assert break_even(2, 0.25, 1.25) == pytest.approx(0.5)
    assert break_even(2, 0.0, 1.0) == 0.0
    # Three tokens at most, for three steps.
    assert np.isnan(break_even(2, 1.0, 1.0))


def test_wilson_by_hand():
    # 8 of 10: (0.8 + 3.8415 / 20 +- 1.96 sqrt(0.016 + 3.8415 / 400)) / (1 + 0.38415)
    assert wilson(0.8, 10) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    # none of 20 is not known to be never: 3.8415 / 20 / (1 + 3.8415 / 20)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.0, 0.1611), abs=1e-4)
    assert np.isnan(wilson(0.0, 0)).all()


def test_tokens_after_a_rejected_one_were_never_examined():
    found = counts([{"proposed": [4, 4, 0], "accepted": [4, 1, 0]}, {"proposed": [4], "accepted": [0]}])
    # 4 + 2 + 0 + 1 of 12 proposed tokens were looked at.
    assert (found["proposed"], found["examined"], found["accepted"]) == (12, 7, 5)
    assert found["accepted_share"] == pytest.approx(5 / 12)
    assert found["acceptance"] == pytest.approx(5 / 7)
    assert found["proposing_share"] == pytest.approx(3 / 4)
    # 5 + 2 + 1 + 1 tokens of 4 passes
    assert found["tokens_per_pass"] == pytest.approx(9 / 4)


def run(prompt, mode, decode_ms, proposed, accepted, tokens=(1, 2)):
    return {
        "prompt": prompt,
        "mode": mode,
        "decode_ms": decode_ms,
        "decoded_tokens": 20,
        "draft_passes": sum(proposed),
        "proposed": proposed,
        "accepted": accepted,
        "tokens": list(tokens),
    }


def made_up(decode_ms, accepted, costs, sampled=False, draft="small", proposed=2, replicate=1):
    """(rows, samples) of one job of draft length 2, whose plain decoding takes 2 x 1000 ms for 40 tokens."""
    config = {"experiment": {"draft_tokens": 2, "strategy": {"do_sample": sampled}}}
    samples = [
        run(0, "plain", 1000.0, [0] * 20, [0] * 20),
        run(1, "plain", 1000.0, [0] * 20, [0] * 20, (3, 4)),
        # the order of prompts turns
        run(1, "speculative", decode_ms, [proposed] * len(accepted), accepted, (3, 5)),
        run(0, "speculative", decode_ms, [proposed] * len(accepted), accepted),
    ]
    record = dict(zip(("main_step_ms", "check_ms", "proposal_ms"), costs), host_bound=False)
    declared = {
        "campaign": "c",
        "experiment": "speculative",
        "cell": f"cell-{draft}",
        "model": "m",
        "precision": "bf16",
        "attention": "sdpa",
        "draft": draft,
        "draft_tokens": 2,
        "strategy": "temperature-1" if sampled else "greedy",
        "replicate": replicate,
        "status": "ok",
        "model_source": "checkpoint",
    }
    cell = {"cell": declared["cell"], "replicate": replicate}
    return [declared | row for row in rows(config, record, samples)], [cell | one for one in samples]


def tables(*jobs):
    found = [row for own, _ in jobs for row in own]
    table = validate(pd.DataFrame(found), table_schema(speculative_table))
    return table, pd.DataFrame([one for _, samples in jobs for one in samples])


FAST = made_up(500.0, [2, 2, 2, 0], (50.0, 60.0, 20.0))
SLOW = made_up(2000.0, [1, 0, 0, 0], (50.0, 100.0, 50.0), draft="poor")


def test_a_row_by_hand():
    row = FAST[0][0]
    assert set(COLUMNS) - set(row) == set()
    # 40 tokens in 2 s, and in 1 s
    assert row["plain_tokens_per_s"] == pytest.approx(20)
    assert row["speedup"] == pytest.approx(2)
    # 20 ms for two tokens of 50 ms each; 60 of 50 ms
    assert row["draft_cost"] == pytest.approx(0.2)
    assert row["check_cost"] == pytest.approx(1.2)
    # of 2 x 7 examined tokens 2 x 6 were kept
    acceptance = 6 / 7
    assert row["expected_speedup"] == pytest.approx((1 + acceptance + acceptance**2) / 1.6)
    # prompt 0 alike, prompt 1 not
    assert row["equal_texts"] == 0.5
    assert "equal_texts" not in made_up(500.0, [2], (50.0, 60.0, 20.0), sampled=True)[0][0]


def test_the_report_says_why_it_is_slower():
    sentences = " ".join(section(*tables(FAST, SLOW)).sentences)
    fast, slow = sentences.index("draft small"), sentences.index("draft poor")
    assert "slower" not in sentences[fast:slow]
    assert "2.00 times the plain speed" in sentences[fast:slow]
    # 2 x 0.5 + 2 = 3 steps for at most 3 tokens; 2 of 8 examined tokens kept: 1 + 0.2 + 0.04
    assert "0.500 times the plain speed" in sentences[slow:]
    assert "cost 3.00 plain steps (2 × 0.500 for the draft, 2.00 for the check)" in sentences[slow:]
    assert "should give 1.24 tokens: no acceptance would pay for that" in sentences[slow:]


def test_a_draft_that_is_slower_for_no_known_cost_is_said_to_be():
    sentences = " ".join(section(*tables(made_up(1250.0, [2, 2, 2, 0], (50.0, 60.0, 20.0)))).sentences)
    # 2.5 tokens a pass at 0.8 times the speed: 3.125 plain steps a pass, alone 1.6.
    assert "slower although alone a proposal and its check cost 1.60 plain steps" in sentences
    assert "took 3.12 plain steps and gave 2.50 tokens" in sentences


def test_replicates_are_one_cell_with_an_interval_from_three_on():
    jobs = [
        made_up(ms, [2, 0], (50.0, 60.0, 20.0), replicate=n) for n, ms in enumerate((490.0, 500.0, 510.0), 1)
    ]
    cells = by_cell(*tables(*jobs))
    assert len(cells) == 1
    # 2 prompts x 2 passes x 2 tokens; the other two processes gave the same runs again
    assert cells["proposed"][0] == 8
    other = made_up(520.0, [1, 0], (50.0, 60.0, 20.0), replicate=4)
    assert by_cell(*tables(*jobs, other))["proposed"][0] == 16
    assert cells["speedup_low"][0] < cells["speedup"][0] < cells["speedup_high"][0]
    assert np.isnan(by_cell(*tables(*jobs[:2]))["speedup_low"][0])


def test_a_draft_that_never_proposed_is_no_error():
    table, samples = tables(made_up(1000.0, [0, 0], (50.0, 60.0, 0.1), draft="prompt-lookup", proposed=0))
    assert "nothing was ever proposed" in " ".join(section(table, samples).sentences)


def test_nothing_ended_ok_draws_and_says_so():
    declared = FAST[0][0] | {"status": "failed", "reason": "why"}
    names = (
        "campaign",
        "experiment",
        "cell",
        "model",
        "precision",
        "attention",
        "draft",
        "draft_tokens",
        "strategy",
    )
    row = {name: declared[name] for name in (*names, "replicate", "status", "reason")}
    table = validate(pd.DataFrame([row]), table_schema(speculative_table))
    assert section(table, pd.DataFrame()).sentences == []
    figure, data = draw(table, pd.DataFrame(), pd.DataFrame())
    assert data.empty


def test_a_point_lies_below_its_curve_exactly_when_it_is_expected_to_be_faster():
    _, data = draw(*tables(FAST, SLOW), pd.DataFrame())
    points = data.set_index("cell")
    for cell, faster in {"cell-small": True, "cell-poor": False}.items():
        point = points.loc[cell]
        curve = sum(point["acceptance"] ** n for n in range(3))
        assert (point["round_cost"] < curve) is np.bool_(faster)
        assert (point["expected_speedup"] > 1) is np.bool_(faster)
