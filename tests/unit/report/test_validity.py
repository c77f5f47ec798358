"""What may be ranked: flags, and drift over a campaign."""

import json

import pandas as pd

from inferbench.presentation.not_known import not_known
from inferbench.report.validity import drift_sentence, flag_counts
from made_up_tables import demo_measurements, gpu_row, gpu_table


def test_flags_are_counted_and_what_was_not_looked_for_is_said():
    rows = [gpu_row(), gpu_row(replicate=2, flags="throttled,power_capped", valid=False)]
    counts = {row["flag"]: row["replicates"] for row in flag_counts(gpu_table(*rows))}
    assert counts == {
        "throttled": "1 of 2",
        "contended": "0 of 2",
        "unstable": "0 of 2",
        "power_capped": "1 of 2",
        "beyond_context": "0 of 2",
    }
    forbidden = [row["flag"] for row in flag_counts(gpu_table(*rows)) if row["ranked"] == "no"]
    assert forbidden == ["throttled", "contended"]
    on_cpu = {row["flag"]: row["replicates"] for row in flag_counts(demo_measurements())}
    assert on_cpu["contended"] == "not checked: no driver"
    assert on_cpu["unstable"] == "0 of 32"


def test_what_is_not_known_is_gathered_by_its_reason():
    one = {"decode_mbu": "windows", "prefill_mfu": "windows", "predicted_bytes": "states"}
    rows = [
        gpu_row("loop", not_known=json.dumps(one)),
        gpu_row("generate", not_known='{"decode_mbu": "windows"}'),
    ]
    table = gpu_table(gpu_row(), *rows, {**rows[0], "replicate": 2})
    loop, generate = rows[0]["cell"], rows[1]["cell"]
    assert not_known(table) == [
        {"columns": "decode_mbu, prefill_mfu", "reason": "windows", "cells": [loop, generate]},
        {"columns": "predicted_bytes", "reason": "states", "cells": [loop]},
    ]
    assert [group["columns"] for group in not_known(table, ["predicted_bytes"])] == ["predicted_bytes"]
    assert not_known(gpu_table(gpu_row())) == []


def test_drift_is_said_with_its_test():
    # Replicate 2 starts a minute later and is 2% faster, in each of 16 cells: 16 pairs that all rise.
    words = drift_sentence(demo_measurements())
    assert words.startswith("Decode speed drifted with the time of the start")
    assert (
        "over 16 pairs of replicates of one cell on one card, started up to 60.0 s apart: tau +1.00" in words
    )
    assert "over 100% per hour" in words  # 1.02 ** 60 - 1 = 228%
    steady = demo_measurements()
    steady["decode_tokens_per_s"] = steady.groupby("cell")["decode_tokens_per_s"].transform("first")
    found = drift_sentence(steady)
    assert found.startswith("No drift of decode speed with the time of the start was found")
    assert "cannot be told from" not in found
    # The same on another card, five hours later: no pair spans the five hours.
    later = steady.assign(device_uuid="GPU-2")
    later["cell"] = "later--" + later["cell"]
    later["started_at"] = (pd.to_datetime(later["started_at"]) + pd.Timedelta(hours=5)).map(str)
    assert drift_sentence(pd.concat([steady, later])).endswith(
        "The campaign's starts are up to 5.02 h apart: what drifts over longer times cannot be told from what differs"
        " between cells and cards."
    )
    assert "cannot be tested" in drift_sentence(demo_measurements(replicate=(1,)))
    assert "cannot be tested" in drift_sentence(demo_measurements(attention=("flash_attention_2",)))
