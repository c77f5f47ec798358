"""From cell files to tables: a row for every declared cell and replicate, and no file taken on trust."""

import pytest

from inferbench.analysis.aggregate import collect_grid
from inferbench.analysis.experiment_tables import collect_experiment
from inferbench.plan.campaign import load_campaign
from inferbench.plan.cells import expand, meaning_overrides
from inferbench.plan.fingerprint import cell_fingerprint
from inferbench.plan.jobs import Job, declared_cells
from inferbench.run.parts import part
from inferbench.tables.cell_file import CellFileError, write_cell

DECLARED = {
    "campaign": "made-up",
    "axes": {
        "model": ["tiny"],
        "precision": ["fp32", "bf16"],
        "attention": ["sdpa"],
        "execution": ["loop"],
        "workload": ["tiny"],
        "batch_size": [2],
    },
    "replicates": 2,
    "device": "cpu",
}
CAMPAIGN = load_campaign(DECLARED)
FP32, BF16 = expand(CAMPAIGN)
SHAPE = {"layers": 1, "heads": 1, "head_dim": 1, "layer_weights": 10, "expert_weights": 0}
SHAPE |= {"active_experts": 0.0, "embedding_weights": 5, "head_weights": 5}
OK = {
    "status": "ok",
    "prompt_tokens": 10,
    "prompt_tokens_mean": 8.0,
    "new_tokens": 3,
    "decode_weight_bytes": 100,
    "kv_bytes_per_token": 4,
    "copy_bandwidth_gb_s": 1.0,
    "matmul_tflop_s": 1.0,
    "shape": SHAPE,
    "stages_s": {},
    "device_name": "a CPU",
    "iterations": [
        {"ttft_ms": 4.0, "itl_ms": [2.0, 4.0], "new_tokens": 3},
        {"ttft_ms": 6.0, "itl_ms": [3.0, 3.0], "new_tokens": 3},
    ],
}
OOM = {"status": "oom", "reason": "out of memory during load"}


def cell_path(folder, cell, replicate):
    return folder / cell.name / f"replicate-{replicate}.parquet"


def config_of(cell, module="loop", library="plain"):
    return {
        "model": {"source": "synthetic"},
        "precision": {"library": library},
        "execution": {"module": module},
        "batch_size": cell.batch_size,
    }


def put(folder, cell, replicate, record=OK, **provenance):
    """Write the file that a job of CAMPAIGN would."""
    about = {
        "cell": cell.name,
        "replicate": replicate,
        "config": config_of(cell),
        "fingerprint": cell_fingerprint(meaning_overrides(CAMPAIGN, cell)),
        "code": "new",
        "host": "node-a",
        "started_at": f"2026-01-05T10:0{replicate}:00.000+00:00",
        "ended_at": f"2026-01-05T10:0{replicate}:07.000+00:00",
        **provenance,
    }
    write_cell(cell_path(folder, cell, replicate), about, record)


@pytest.fixture
def measured(tmp_path):
    """A folder of cell files: everything that CAMPAIGN declares."""
    for replicate in (1, 2):
        put(tmp_path, FP32, replicate)
        put(tmp_path, BF16, replicate, OOM if replicate == 2 else OK)
    return tmp_path


def test_a_row_for_each_cell_and_replicate_whatever_became_of_it(measured):
    table, iterations, about = collect_grid(CAMPAIGN, measured, partial=False)
    assert table[["precision", "replicate", "status"]].values.tolist() == [
        ["fp32", 1, "ok"],
        ["fp32", 2, "ok"],
        ["bf16", 1, "ok"],
        ["bf16", 2, "oom"],
    ]
    assert table["reason"].isna().tolist() == [True, True, True, False]
    assert table["valid"].tolist() == [True, True, True, False]
    # both iterations take 3 ms a token, for 2 sequences; first tokens after 4 and 6 ms
    assert table["decode_tokens_per_s"].dropna().tolist() == pytest.approx([2 / 0.003] * 3)
    assert table["ttft_ms"].dropna().tolist() == [5.0] * 3
    assert table["joules_per_token"].isna().all()  # no CPU has it
    # two iterations for each ok replicate, and the row that says oom
    assert len(iterations) == 3 * 2 + 1
    assert about["campaign"] == CAMPAIGN
    assert [(cell["cell"], cell["replicate"]) for cell in about["cells"]] == [
        (FP32.name, 1),
        (FP32.name, 2),
        (BF16.name, 1),
        (BF16.name, 2),
    ]


def test_a_copy_that_a_neighbour_slowed_raises_no_share(measured):
    """The same step twice; the second process saw 0.8 GB/s of copy and 0.5 TFLOP/s where the first saw 1 of each.
    What another node showed bounds nothing here."""
    put(measured, FP32, 2, OK | {"copy_bandwidth_gb_s": 0.8, "matmul_tflop_s": 0.5})
    put(measured, BF16, 1, OK | {"copy_bandwidth_gb_s": 4.0, "read_bandwidth_gb_s": 2.0}, host="node-b")
    table, _, _ = collect_grid(CAMPAIGN, measured, partial=False)
    assert table["copy_bandwidth_gb_s"].tolist()[:3] == [1.0, 1.0, 4.0]
    assert table["matmul_tflop_s"].isna().tolist() == [False, False, False, True]
    assert table["matmul_tflop_s"].tolist()[:3] == [1.0, 1.0, 1.0]
    mbu, mfu = table["decode_mbu"].astype(float), table["prefill_mfu"].astype(float)
    assert mbu[1] == pytest.approx(mbu[0]) and mfu[1] == pytest.approx(mfu[0])
    assert mbu[2] == pytest.approx(mbu[0] / 4)


def test_files_of_cells_that_are_no_longer_declared_are_left_aside(measured):
    smaller = {**CAMPAIGN, "axes": {**CAMPAIGN["axes"], "precision": ["bf16"]}, "replicates": 1}
    table, _, _ = collect_grid(smaller, measured, partial=False)
    assert table["cell"].tolist() == [BF16.name]


def test_an_absent_file_is_a_row_missing_where_that_was_asked_for(measured):
    cell_path(measured, FP32, 2).unlink()
    table, iterations, about = collect_grid(CAMPAIGN, measured, partial=True)
    assert table["status"].tolist() == ["ok", "missing", "ok", "oom"]
    assert (len(iterations), len(about["cells"])) == (5, 3)
    with pytest.raises(CellFileError, match=str(cell_path(measured, FP32, 2))):
        collect_grid(CAMPAIGN, measured, partial=False)


def test_nothing_measured_yet_is_all_rows_missing(tmp_path):
    table, iterations, about = collect_grid(CAMPAIGN, tmp_path / "cells", partial=True)
    assert table["status"].tolist() == ["missing"] * 4
    assert (len(iterations), about["cells"]) == (0, [])


@pytest.mark.parametrize("partial", [True, False])
def test_a_file_of_another_configuration_is_refused(measured, partial):
    put(measured, BF16, 1, fingerprint="0123456789abcdef")
    with pytest.raises(CellFileError) as caught:
        collect_grid(CAMPAIGN, measured, partial)
    assert str(cell_path(measured, BF16, 1)) in str(caught.value)
    assert "0123456789abcdef" in str(caught.value)


@pytest.mark.parametrize("partial", [True, False])
def test_a_broken_file_is_refused(measured, partial):
    cell_path(measured, BF16, 1).write_bytes(b"PAR1")
    with pytest.raises(CellFileError, match=str(cell_path(measured, BF16, 1))):
        collect_grid(CAMPAIGN, measured, partial)


def test_a_record_of_another_version_is_refused_with_its_path_and_what_it_lacks(measured):
    put(measured, FP32, 1, {key: value for key, value in OK.items() if key != "shape"})
    with pytest.raises(
        CellFileError, match=r"replicate-1.parquet lacks what its row is made of \(KeyError\('shape'\)\)"
    ):
        collect_grid(CAMPAIGN, measured, partial=False)


def test_a_file_in_the_place_of_another_replicate_is_refused(measured):
    cell_path(measured, FP32, 1).rename(cell_path(measured, FP32, 2))
    put(measured, FP32, 1)
    with pytest.raises(CellFileError, match=str(cell_path(measured, FP32, 2))):
        collect_grid(CAMPAIGN, measured, partial=False)


def test_cells_of_other_code_than_the_newest_are_marked(measured):
    put(measured, BF16, 2, code="old", started_at="2026-01-05T09:00:00.000+00:00")
    table, _, _ = collect_grid(CAMPAIGN, measured, partial=False)
    assert table["mixed_code"].tolist() == [False, False, False, True]
    put(measured, BF16, 2, code="newer", started_at="2026-01-05T10:02:01.000+00:00")
    table, _, _ = collect_grid(CAMPAIGN, measured, partial=False)
    assert table["mixed_code"].tolist() == [True, True, True, False]


@pytest.mark.parametrize("changes", [{"module": "captured"}, {"library": "bitsandbytes"}])
def test_code_is_mixed_within_one_engine_and_library_alone(measured, changes):
    """Each has modules of its own, whose hash says nothing of the other's."""
    for replicate in (1, 2):
        put(measured, BF16, replicate, code="other", config=config_of(BF16, **changes))
    table, _, _ = collect_grid(CAMPAIGN, measured, partial=False)
    assert table["mixed_code"].tolist() == [False] * 4
    put(measured, BF16, 1, code="older", config=config_of(BF16, **changes))
    table, _, _ = collect_grid(CAMPAIGN, measured, partial=False)
    assert table["mixed_code"].tolist() == [False, False, True, False]


def test_an_experiment_has_its_jobs_flags_and_marks_the_code_of_each_engine_and_library(tmp_path):
    campaign = load_campaign({**DECLARED, "experiments": {"streaming": {}}})
    made = {"fp32": ("plain", ["new", "new"]), "bf16": ("bitsandbytes", ["older", "newer"])}
    for cell, replicates in declared_cells(campaign, "streaming").items():
        _, fingerprint = Job("streaming", cell, 1).meaning(campaign, "models")
        library, codes = made[dict(cell.axes)["precision"]]
        for replicate in range(1, replicates + 1):
            about = {
                "cell": cell.name,
                "replicate": replicate,
                "config": config_of(FP32, library=library) | {"experiment": {"prompt_tokens": 4}},
                "fingerprint": fingerprint,
                "code": codes[replicate - 1],
                "started_at": f"2026-01-05T10:0{replicate}:00.000+00:00",
                "ended_at": f"2026-01-05T10:0{replicate}:07.000+00:00",
            }
            record = {"status": "oom", "reason": "too big", "flags": ["power_capped", "contended"]}
            if library == "plain":
                flags = {1: {"flags": ["throttled"]}, 2: {}}[
                    replicate
                ]  # measured before flags were looked for
                samples = [
                    {
                        "round": 1,
                        "streamed": way,
                        "token": token,
                        "made_ms": 2.0 * token,
                        "seen_ms": 2.5 * token,
                    }
                    for way in (True, False)
                    for token in (1, 2, 3)
                ]
                record = {"status": "ok", "host_bound": False, "samples": samples, **flags}
            write_cell(cell_path(tmp_path, cell, replicate), about, record)
    table, samples = collect_experiment(campaign, "streaming", part("streaming", "table"), tmp_path, False)
    # a row for streamed and one for not streamed tokens of each job that ended ok
    told = [
        tuple(row) for row in table[["precision", "replicate", "flags", "valid", "mixed_code"]].to_numpy()
    ]
    assert told == [
        *[("fp32", 1, "throttled", False, False)] * 2,
        *[("fp32", 2, "", True, False)] * 2,
        ("bf16", 1, "power_capped,contended", False, True),
        ("bf16", 2, "power_capped,contended", False, False),
    ]
    assert len(samples) == 2 * 6
