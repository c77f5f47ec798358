"""The jobs of a campaign with grid and experiments: one list, in the order in which they are measured."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from inferbench.plan.campaign import load_campaign
from inferbench.plan.fingerprint import code_hash, measuring_code, named_code
from inferbench.plan.jobs import Plan
from inferbench.run.compose import register
from inferbench.settings.repository import HYDRA_DIR

CAMPAIGN = {
    "campaign": "made-up",
    "axes": {
        "model": ["tiny"],
        "precision": ["fp32", "bf16"],
        "attention": ["sdpa"],
        "execution": ["loop"],
        "workload": ["tiny"],
        "batch_size": [1, 2, 4, 8],
    },
    "replicates": 3,
    "device": "cpu",
    "experiments": {"kv_cache": {"cache": ["off", "static"]}, "streaming": {"replicates": 1}},
}


def plan(**changes) -> Plan:
    return Plan(load_campaign({**CAMPAIGN, **changes}), "models")


def order(**changes) -> list[str]:
    """Files of the jobs as they are measured."""
    return [job.file for job in plan(**changes).jobs]


def test_each_block_measures_every_cell_of_grid_and_experiments_once_in_an_order_of_its_own():
    jobs = plan().jobs
    # 2 precisions: 8 cells of the grid and 4 of kv_cache, three times; 2 of streaming, once.
    blocks = [jobs[:14], jobs[14:26], jobs[26:]]
    assert [{job.replicate for job in block} for block in blocks] == [{1}, {2}, {3}]
    cells = [[(job.experiment, job.cell.name) for job in block] for block in blocks]
    assert set(cells[1]) == set(cells[2]) == {cell for cell in cells[0] if cell[0] != "streaming"}
    assert len(set(cells[0])) == 14 and len(cells[1]) == len(cells[2]) == 12
    assert cells[1] != cells[2]
    # Neither is first as a whole: what drifts meets both.
    for block in cells:
        grid = [place for place, (experiment, _) in enumerate(block) if experiment == "grid"]
        assert grid != list(range(8)) and grid != list(range(len(block) - 8, len(block)))


def test_the_order_is_the_seeds_and_not_that_of_the_declaration():
    axes = {axis: list(reversed(values)) for axis, values in CAMPAIGN["axes"].items()}
    experiments = dict(reversed(CAMPAIGN["experiments"].items()))
    assert order(axes=axes, experiments=experiments) == order()
    assert order(seed=1) != order() and sorted(order(seed=1)) == sorted(order())


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": {**CAMPAIGN["axes"], "batch_size": [1, 2, 3, 4, 8]}},
        {"experiments": {**CAMPAIGN["experiments"], "sampling": {}}},
        {"replicates": 5},
    ],
    ids=["a batch size", "an experiment", "replicates"],
)
def test_jobs_that_are_added_leave_the_order_of_the_others(changes):
    before, after = order(), order(**changes)
    assert len(after) > len(before)
    assert [file for file in after if file in set(before)] == before


def test_the_earlier_a_job_is_the_higher_its_priority():
    own = plan()
    assert sorted(own.priorities, key=own.priorities.get, reverse=True) == [job.file for job in own.jobs]
    assert len(set(own.priorities.values())) == len(own.jobs)


def codes(own: Plan) -> dict[str, str]:
    """Code of each job of the first replicate, by its cell."""
    return {job.cell.name: own.code(job) for job in own.jobs if job.replicate == 1}


def test_jobs_of_one_experiment_engine_and_library_have_one_code():
    grid = {
        **CAMPAIGN["axes"],
        "precision": ["fp32", "bf16", "nf4", "int8"],
        "execution": ["loop", "generate"],
    }
    found = codes(plan(axes={**grid, "batch_size": [1]}, experiments={}, baseline={"precision": "fp32"}))

    def of(precisions, execution):
        return {found[f"tiny--{precision}--sdpa--{execution}--tiny--b1"] for precision in precisions}

    # Of 4 precisions two are bitsandbytes', and nf4 names it in the file that it extends.
    groups = [
        of(names, engine) for names in (("fp32", "bf16"), ("nf4", "int8")) for engine in ("loop", "generate")
    ]
    assert all(len(group) == 1 for group in groups)
    assert len(set().union(*groups)) == 4


def test_captured_engines_share_a_module_and_its_code():
    axes = {**CAMPAIGN["axes"], "execution": ["cuda_graph", "compiled", "loop"], "batch_size": [1]}
    found = codes(plan(axes=axes, experiments={}))
    graph, compiled, loop = (found[f"tiny--bf16--sdpa--{name}--tiny--b1"] for name in axes["execution"])
    assert graph == compiled != loop


def test_the_code_of_an_experiment_counts_its_draft_and_its_reference():
    experiments = {
        "speculative": {
            "precision": ["bf16"],
            "draft": ["nf4-copy", "prompt-lookup"],
            "draft_tokens": [2],
            "strategy": ["greedy"],
        },
        "quality": {"precision": ["bf16"], "reference": ["fp32", "nf4"]},
    }
    found = codes(plan(experiments=experiments))
    name = "tiny--bf16--sdpa"
    assert found[f"{name}--nf4-copy--k2--greedy"] != found[f"{name}--prompt-lookup--k2--greedy"]
    assert found[f"{name}--fp32"] != found[f"{name}--nf4"]


def test_the_code_that_is_planned_is_the_one_that_a_job_notes_of_its_composed_config():
    """Otherwise each run would measure all again."""
    axes = {**CAMPAIGN["axes"], "precision": ["bf16", "nf4"], "execution": ["generate", "compiled"]}
    experiments = {
        "speculative": {"draft_tokens": [2]},
        "quality": {"reference": ["fp32", "nf4"]},
        "kv_cache": {},
    }
    own = plan(axes=axes, experiments=experiments, replicates=1)
    register()
    with initialize_config_dir(str(HYDRA_DIR), version_base="1.3"):
        for job in own.jobs:
            composed = compose(job.primary, [*own.meaning(job)[0], "output=x.parquet"])
            config = OmegaConf.to_container(composed, resolve=True, enum_to_str=True)
            assert code_hash(*measuring_code(job.experiment, *named_code(config))) == own.code(job), job.file
