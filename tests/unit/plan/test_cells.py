"""The grid: which cells there are, and what each means to Hydra."""

from dataclasses import asdict

import pytest
from hydra import compose, initialize_config_dir

from inferbench.plan.campaign import hydra_options
from inferbench.plan.cells import GROUPS, Cell, expand, job_overrides, meaning_overrides
from inferbench.run.compose import register, resolve
from inferbench.settings import job as configs
from inferbench.settings.repository import HYDRA_DIR

AXES = {
    "model": ["tiny"],
    "precision": ["fp32", "bf16"],
    "attention": ["sdpa"],
    "execution": ["loop"],
    "workload": ["tiny"],
    "batch_size": [1, 8],
}
CAMPAIGN = {
    "campaign": "made-up",
    "axes": AXES,
    "also": [],
    "replicates": 2,
    "exclude": [],
    "device": "cpu",
    "cpu_threads": 3,
    "seed": 7,
    "timeout_s": 60,
    "measure": {"max_seconds": 2.5, "min_iterations": 4},
    "models_dir": "models",
}


def points(**changes):
    return [(cell.precision, cell.attention, cell.batch_size) for cell in expand({**CAMPAIGN, **changes})]


def test_the_grid_is_the_product_of_the_axes_in_their_order():
    assert points() == [("fp32", "sdpa", 1), ("fp32", "sdpa", 8), ("bf16", "sdpa", 1), ("bf16", "sdpa", 8)]


def test_also_adds_a_product_that_takes_the_rest_from_the_axes_and_no_cell_twice():
    added = points(also=[{"precision": ["bf16", "nf4"], "batch_size": [8]}])
    assert added == [*points(), ("nf4", "sdpa", 8)]


@pytest.mark.parametrize(
    "exclude, left",
    [
        ([{"precision": "fp32"}], [("bf16", 1), ("bf16", 8)]),
        ([{"precision": "fp32", "batch_size": 8}], [("fp32", 1), ("bf16", 1), ("bf16", 8)]),
        ([{"precision": ["fp32", "bf16"], "batch_size": [8]}], [("fp32", 1), ("bf16", 1)]),
        ([{"batch_size": 1}, {"precision": "bf16"}], [("fp32", 8)]),
        ([{"model": "tiny"}], []),
    ],
)
def test_exclude_leaves_out_what_matches_all_of_an_entry(exclude, left):
    assert [(precision, batch) for precision, _, batch in points(exclude=exclude)] == left


def test_names_tell_cells_apart():
    cells = list(expand({**CAMPAIGN, "also": [{"attention": ["eager", "flash_attention_2"]}]}))
    assert cells[0].name == "tiny--fp32--sdpa--loop--tiny--b1"
    assert len({cell.name for cell in cells}) == len(cells) == 12


def composed(overrides):
    """The typed config that Hydra makes of a command line."""
    register()
    with initialize_config_dir(str(HYDRA_DIR), version_base="1.3"):
        return resolve(compose("benchmark", [*overrides, "output=x.parquet"]))


def of(cell: Cell, replicate: int, fingerprint: str) -> list[str]:
    return job_overrides(CAMPAIGN, meaning_overrides(CAMPAIGN, cell), cell.name, replicate, fingerprint)


def test_a_job_means_to_hydra_what_the_campaign_says():
    cell = Cell("tiny", "nf4", "flash_attention_2", "generate", "short", 8)
    config = composed(of(cell, 2, "0123456789abcdef"))
    assert {group: getattr(config, group).name for group in GROUPS} == {
        group: value for group, value in asdict(cell).items() if group != "batch_size"
    }
    assert (config.batch_size, config.cpu_threads, config.seed, config.timeout_s) == (8, 3, 7, 60)
    assert (config.measure.max_seconds, config.measure.min_iterations) == (2.5, 4)
    assert (config.campaign, config.cell, config.replicate) == ("made-up", cell.name, 2)
    assert (config.device, config.fingerprint) == (configs.Device.cpu, "0123456789abcdef")
    # the file of nf4 says only its name; the rest is what it shares with the other 4-bit precisions
    assert (config.precision.library, config.precision.options) == ("bitsandbytes", {"quantisation": "nf4"})
    assert config.precision.dtype is configs.Dtype.bfloat16


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_of_a_group_is_a_whole_config_with_its_own_name(group):
    for name in hydra_options(group):
        config = getattr(composed([f"{group}={name}"]), group)
        assert config.name == name


@pytest.mark.parametrize("fingerprint", ["3380452149192e67", "1234567890123456", "0123456789abcdef"])
def test_a_fingerprint_that_looks_like_a_number_stays_what_it_is(fingerprint):
    assert composed(of(next(iter(expand(CAMPAIGN))), 1, fingerprint)).fingerprint == fingerprint


def test_what_a_cell_means_does_not_depend_on_the_replicate():
    cell = next(iter(expand(CAMPAIGN)))
    first, second = (set(of(cell, replicate, "f")) for replicate in (1, 2))
    assert first ^ second == {"replicate=1", "replicate=2"}
    assert set(meaning_overrides(CAMPAIGN, cell)) < first & second


def test_an_entry_of_also_may_have_replicates_of_its_own_and_a_cell_declared_twice_has_the_more():
    also = [
        {"batch_size": [32], "replicates": 1},
        {"precision": ["bf16"], "batch_size": [8, 32], "replicates": 3},
    ]
    cells = expand({**CAMPAIGN, "also": also})
    assert {(cell.precision, cell.batch_size): count for cell, count in cells.items()} == {
        ("fp32", 1): 2, ("fp32", 8): 2, ("bf16", 1): 2, ("bf16", 8): 3, ("fp32", 32): 1, ("bf16", 32): 3
    }  # fmt: skip


def test_the_type_of_gpu_is_part_of_what_a_cell_means():
    campaign = {**CAMPAIGN, "gpu_model": [{"precision": "bf16", "gpu_model": "h100"}]}
    for cell in expand(CAMPAIGN):
        added = set(meaning_overrides(campaign, cell)) - set(meaning_overrides(CAMPAIGN, cell))
        assert added == ({"gpu_model=h100"} if cell.precision == "bf16" else set())
        assert composed(meaning_overrides(campaign, cell)).gpu_model == (
            "h100" if cell.precision == "bf16" else None
        )


@pytest.mark.parametrize(
    "folder", ["models", "my models", 'it\'s "mine"', "a,b=[c]", "1e5", "C:\\models\\", "null"]
)
def test_hydra_takes_the_models_folder_as_it_is(folder):
    register()
    overrides = job_overrides({**CAMPAIGN, "models_dir": folder}, ["model=tiny"], "cell", 1, "f")
    with initialize_config_dir(str(HYDRA_DIR), version_base="1.3"):
        composed = resolve(compose("benchmark", [*overrides, "output=x"]))
    assert composed.models_dir == folder
    assert composed.model.path == f"{folder}/tiny"
