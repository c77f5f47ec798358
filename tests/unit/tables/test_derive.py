"""Every derived number of a made-up cell, worked out by hand.

Batch 2, prompts of 10 tokens, 4 new tokens, so 3 gaps per iteration.
"""

import json

import pytest

from inferbench.tables.derive import decode_bytes, measurement, prefill_flop
from made_up_record import ITERATIONS, PROVENANCE, RECORD, SHAPE


def row(**changes):
    return measurement(PROVENANCE, {**RECORD, **changes}, ITERATIONS)


def test_latencies_are_medians_over_iterations():
    found = row()
    # times to first token 4, 5, 9; means per token 2, 2, 4; gaps 1 2 2 2 2 3 4 4 4
    assert (found["ttft_ms"], found["tpot_ms"], found["itl_p50_ms"], found["iterations"]) == (5, 2, 2, 3)
    # the 99th percentile lies between the two largest gaps, both 4
    assert found["itl_p99_ms"] == pytest.approx(4)
    # mean 8/3, squared deviations 4/9 + 4/9 + 16/9 over 2: standard deviation 2/sqrt(3)
    assert found["within_process_cv"] == pytest.approx(1.1547005 / 2.6666667)


def test_one_iteration_has_no_spread():
    assert measurement(PROVENANCE, RECORD, ITERATIONS[:1])["within_process_cv"] is None


def test_rates_count_the_whole_batch():
    found = row()
    assert found["prefill_tokens_per_s"] == pytest.approx(2 * 10 / 0.005)
    assert found["decode_tokens_per_s"] == pytest.approx(2 / 0.002)


def test_padding_is_no_work_done():
    # one prompt of 10 tokens, one of 6 padded to 10: 16 tokens in 5 ms
    assert row(prompt_tokens_mean=8.0)["prefill_tokens_per_s"] == pytest.approx(3200)


def test_bandwidth_utilisation_of_decoding():
    # The 3 steps see 11, 12 and 13 tokens of each of 2 sequences: 1000 + 2 x 12 x 8 = 1192 bytes a step,
    # in 2 ms, of 1e6 bytes/s.
    assert decode_bytes(RECORD, 2) == 1192
    assert row()["decode_mbu"] == pytest.approx(0.596)


def test_what_no_number_of_bytes_a_token_gives_was_counted():
    # 1000 + 300 bytes a step, in 2 ms, of 1e6 bytes/s
    counted = row(kv_bytes_per_token=None, cache_read_bytes=300)
    assert counted["decode_mbu"] == pytest.approx(0.65)
    assert counted["not_known"] is None


def test_shares_that_are_not_known_are_absent_and_the_row_says_why():
    unknown = {"decode_mbu": "no cache", "prefill_mfu": "windows"}
    found = row(kv_bytes_per_token=None, not_known=unknown, step_busy_ms=1.0, step_class_ms={})
    assert not {"decode_mbu", "prefill_mfu"} & set(found)
    assert (found["tpot_ms"], found["gpu_busy_fraction"]) == (2, 0.5)
    assert json.loads(found["not_known"]) == unknown


def test_flop_utilisation_of_prefill():
    # matrices: 100 + 0.25 x 40 = 110 weights, 2 x 110 x 2 x 10 = 4400 FLOP
    # attention, causal: 2 x 2 layers x 3 heads x 4 x 2 sequences x 10^2 = 9600
    # head, one token a sequence: 2 x 50 x 2 = 200; together 14200 in 5 ms, of 1e7 FLOP/s
    assert prefill_flop(RECORD, 2) == 14200
    assert row()["prefill_mfu"] == pytest.approx(0.284)


def test_a_head_tied_to_the_embedding_works_all_the_same():
    # 2 x 60 x 2 = 240 in place of 200
    assert prefill_flop({**RECORD, "shape": {**SHAPE, "head_weights": 0}}, 2) == 14240


def test_a_profiled_step_is_a_share_of_the_unprofiled_one():
    profiled = row(step_busy_ms=1.5, step_class_ms={"matmul": 1.0, "other": 0.5})
    assert profiled["gpu_busy_fraction"] == pytest.approx(0.75)  # of 2 ms
    assert (profiled["step_gap_ms"], profiled["step_matmul_ms"], profiled["step_other_ms"]) == (0.5, 1.0, 0.5)
    # where the step without reading its token was timed, that is the step
    unread = row(step_busy_ms=1.5, step_class_ms={}, tpot_unread_ms=1.6)
    assert unread["gpu_busy_fraction"] == pytest.approx(0.9375)
    assert unread["step_gap_ms"] == pytest.approx(0.1)
    # kernels that overlap their own profile's overhead leave no negative gap
    assert row(step_busy_ms=2.5, step_class_ms={})["step_gap_ms"] == 0


def test_a_cell_without_a_profile_has_no_busy_fraction():
    assert "gpu_busy_fraction" not in row()


def test_what_is_known_otherwise_is_carried_over():
    found = row()
    assert (found["startup_s"], found["load_s"], found["compile_s"]) == (1.5, 2.0, None)
    assert (found["model_source"], found["fingerprint"], found["sample_text"]) == (
        "synthetic",
        "f",
        "so it goes",
    )
    assert found["seconds"] == 3.25  # over midnight


@pytest.mark.parametrize(
    "flags, text, valid",
    [
        ([], "", True),
        (None, "", True),
        (["power_capped"], "power_capped", True),
        (["throttled"], "throttled", False),
        (["power_capped", "contended"], "power_capped,contended", False),
        (["unstable"], "unstable", True),
    ],
)
def test_flags_that_forbid_ranking(flags, text, valid):
    found = row(flags=flags)
    assert (found["flags"], found["valid"]) == (text, valid)
    assert found["tpot_ms"] == 2  # the number stands


@pytest.mark.parametrize("status", ["oom", "failed", "timeout", "skipped", "unsupported"])
def test_a_cell_that_is_not_ok_has_no_speed_and_keeps_what_it_found(status):
    nothing = [{"ttft_ms": None, "itl_ms": None, "new_tokens": None}]
    record = {"status": status, "reason": "why", "weight_bytes": 5, "sample_text": "half"}
    found = measurement(PROVENANCE, record, nothing)
    assert (found["status"], found["reason"], found["weight_bytes"], found["valid"]) == (
        status,
        "why",
        5,
        False,
    )
    assert not {"tpot_ms", "decode_mbu", "sample_text", "iterations"} & set(found)
