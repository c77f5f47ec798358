"""The largest batch that fits, from what ran and what was predicted."""

import pandas as pd

from inferbench.analysis.capacity import fitting, largest_batches
from made_up_tables import gpu_row, gpu_table


def test_largest_batch_by_cache_and_by_prediction():
    assert fitting(80e9, 16e9, 20e6) == 3200
    measurements = gpu_table(
        # Predictions of 16.6 GB + 40 MB a sequence: (80 - 16.6) / 0.04 = 1 585.
        gpu_row(batch_size=1, predicted_bytes=16_640_000_000),
        gpu_row(batch_size=10, predicted_bytes=17_000_000_000),
        gpu_row(batch_size=4000, status="oom", valid=False, predicted_bytes=176_600_000_000),
    ).assign(device_memory_bytes=80_000_000_000)
    (row,) = largest_batches(measurements).to_dict("records")
    assert (row["precision"], row["context"]) == ("bf16", 160)
    assert (row["by_cache"], row["by_prediction"]) == (3200, 1585)
    assert (row["largest_ok"], row["smallest_oom"]) == (10, 4000)


def test_what_only_ran_out_of_memory_is_a_row_too():
    never = gpu_row(
        attention="eager", batch_size=2, status="oom", valid=False, predicted_bytes=50_000_000_000
    )
    never |= dict.fromkeys(("prompt_tokens", "new_tokens", "kv_cache_formula_bytes"))
    table = largest_batches(gpu_table(gpu_row(), never).assign(device_memory_bytes=80_000_000_000))
    eager = table.set_index("attention").loc["eager"]
    assert (eager["context"], eager["smallest_oom"]) == (160, 2)
    assert eager[["by_cache", "by_prediction", "largest_ok"]].isna().all()


def test_the_context_of_a_model_is_its_own():
    """One text is as many tokens as each model's tokenizer makes of it: 32 and 40, and 128 new ones."""
    other = gpu_row(cell="other", model="other", prompt_tokens=40)
    table = largest_batches(gpu_table(gpu_row(), other).assign(device_memory_bytes=80_000_000_000))
    assert dict(zip(table["model"] == "other", table["context"], strict=True)) == {False: 160, True: 168}


def test_a_cache_without_a_formula_is_the_one_that_was_held():
    # (80 - 16) GB over 5 MB a sequence.
    windows = gpu_row(batch_size=4, kv_cache_formula_bytes=None, kv_cache_bytes=20_000_000)
    table = largest_batches(gpu_table(windows).assign(device_memory_bytes=80_000_000_000))
    assert table["by_cache"].tolist() == [12_800]
    unknown = largest_batches(
        gpu_table({**windows, "kv_cache_bytes": None}).assign(device_memory_bytes=80_000_000_000)
    )
    assert unknown["by_cache"].isna().all()
    assert unknown["largest_ok"].tolist() == [4]


def test_one_batch_size_does_not_say_what_of_a_prediction_is_a_sequence():
    one = gpu_table(gpu_row(batch_size=10, predicted_bytes=16_800_000_000))
    (row,) = largest_batches(one.assign(device_memory_bytes=80_000_000_000)).to_dict("records")
    assert row["by_cache"] == 3200
    assert pd.isna(row["by_prediction"]) and pd.isna(row["smallest_oom"])


def test_without_a_device_size_nothing_is_claimed():
    assert largest_batches(gpu_table(gpu_row()).drop(columns="device_memory_bytes", errors="ignore")).empty
