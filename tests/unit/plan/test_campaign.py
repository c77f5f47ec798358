"""A campaign's declaration: defaults, and one sentence for each thing that is wrong with it."""

import datetime
import shutil

import pytest
import yaml

from inferbench.plan import campaign as campaigns
from inferbench.plan.campaign import CampaignError, check_contexts, hydra_options, load_campaign
from inferbench.plan.cells import expand
from inferbench.settings.repository import REPOSITORY

CAMPAIGN = {
    "campaign": "made-up",
    "axes": {
        "model": ["tiny"],
        "precision": ["bf16", "nf4"],
        "attention": ["sdpa"],
        "execution": ["loop"],
        "workload": ["tiny"],
        "batch_size": [1],
    },
}


def axes(**changes):
    return {"axes": {**CAMPAIGN["axes"], **changes}}


@pytest.mark.parametrize(
    "path", [*sorted(REPOSITORY.glob("config/campaigns/*.yaml")), "config/config.yaml"], ids=str
)
def test_the_campaigns_of_this_repository_are_valid(path):
    load_campaign(yaml.safe_load((REPOSITORY / path).read_text()))


def test_what_is_left_out_has_its_default_and_what_is_there_stays():
    campaign = load_campaign({**CAMPAIGN, "seed": 3})
    assert campaign["seed"] == 3
    assert campaign["axes"] == CAMPAIGN["axes"]
    assert (campaign["replicates"], campaign["device"], campaign["source"]) == (3, "cuda", "run")
    assert (campaign["also"], campaign["exclude"], campaign["retry"], campaign["measure"]) == ([], [], [], {})
    assert campaign["limits"] == {}
    assert (campaign["baseline"], campaign["accept_code"]) == ({"precision": "bf16"}, [])


def test_the_campaign_handed_in_is_left_as_it_was():
    before = yaml.safe_dump(CAMPAIGN)
    load_campaign(CAMPAIGN)["axes"]["precision"].append("fp16")
    assert yaml.safe_dump(CAMPAIGN) == before


def test_a_name_that_yaml_reads_as_a_date_is_a_name():
    assert load_campaign({**CAMPAIGN, "campaign": datetime.date(2026, 1, 5)})["campaign"] == "2026-01-05"


WRONG = {
    "nothing": ({}, None, "campaign file: campaign, axes is missing"),
    "no batch sizes": (
        {"axes": {"model": ["tiny"]}},
        None,
        "axes: precision, attention, execution, workload, batch_",
    ),
    "unknown key": (
        {"axis": {}},
        CAMPAIGN,
        "campaign file: unknown key axis; the keys here are accept_code,",
    ),
    "unknown axis": (
        axes(batch=[1]),
        CAMPAIGN,
        "axes: unknown key batch; the keys here are attention, batch_size,",
    ),
    "a type of GPU with a dash": (
        {"gpu_model": "h100-sxm"},
        CAMPAIGN,
        'gpu_model: "h100-sxm" does not fit',
    ),
    "a pattern without its type of GPU": (
        {"gpu_model": [{"precision": "bf16"}]},
        CAMPAIGN,
        "gpu_model: ",
    ),
    "a pattern of GPU types with an unknown name": (
        {"gpu_model": [{"precision": "bf17", "gpu_model": "h100"}]},
        CAMPAIGN,
        "precision bf17 has no file config/hydra/precision/bf17.yaml",
    ),
    "no memory": ({"mem_mb": 10}, CAMPAIGN, "mem_mb: 10 does not fit"),
    "unknown status": ({"retry": ["bad"]}, CAMPAIGN, 'retry.0: "bad" does not fit'),
    "measuring until it looks steady": (
        {"retry": ["failed", "unstable"]},
        CAMPAIGN,
        'retry.1: "unstable" does not fit',
    ),
    "empty axis": (
        axes(attention=[]),
        CAMPAIGN,
        "axes.attention: the list is empty; name at least one value.",
    ),
    "a name twice": (axes(attention=["sdpa", "sdpa"]), CAMPAIGN, "axes.attention: "),
    "a name for a list": (axes(model="tiny"), CAMPAIGN, 'axes.model: "tiny" does not fit'),
    "batch 0": (axes(batch_size=[0]), CAMPAIGN, "axes.batch_size.0: 0 does not fit"),
    "batch in words": (axes(batch_size=["one"]), CAMPAIGN, 'axes.batch_size.0: "one" does not fit'),
    "half a batch": (axes(batch_size=[1.5]), CAMPAIGN, "axes.batch_size.0: 1.5 does not fit"),
    "a batch as a float": (axes(batch_size=[1.0]), CAMPAIGN, "axes.batch_size.0: 1.0 does not fit"),
    "a batch as a truth value": (axes(batch_size=[True]), CAMPAIGN, "axes.batch_size.0: true does not fit"),
    "replicates as a float": ({"replicates": 2.0}, CAMPAIGN, "replicates: 2.0 does not fit"),
    "a path as a name": ({"campaign": "../other"}, CAMPAIGN, 'campaign: "../other" does not fit'),
    "a device": ({"device": "tpu"}, CAMPAIGN, 'device: "tpu" does not fit'),
    "everything excluded": (
        {"exclude": [{"batch_size": 1}]},
        CAMPAIGN,
        "campaign made-up: exclude leaves no cell",
    ),
    "unknown model": (
        axes(model=["huge"]),
        CAMPAIGN,
        "model huge has no file config/hydra/model/huge.yaml; there are",
    ),
    "a base as a name": (axes(precision=["base_4bit"]), CAMPAIGN, "precision base_4bit has no file"),
    "unknown name to exclude": ({"exclude": [{"precision": "fp9"}]}, CAMPAIGN, "precision fp9 has no file"),
    "unknown name in also": ({"also": [{"workload": ["w"]}]}, CAMPAIGN, "workload w has no file"),
    "empty exclusion": ({"exclude": [{}]}, CAMPAIGN, "exclude.0: "),
    "baseline elsewhere": (
        {"baseline": {"precision": "fp16"}},
        CAMPAIGN,
        'baseline {"precision": "fp16"} matches no',
    ),
    "words for a number of an experiment": (
        {"experiments": {"kv_cache": {"settings": {"steps": "two"}}}},
        CAMPAIGN,
        'experiments.kv_cache.settings.steps: "two" does not fit; it is a whole number from 1.',
    ),
    "a number for a list of an experiment": (
        {"experiments": {"kv_cache": {"settings": {"lengths": 12}}}},
        CAMPAIGN,
        "experiments.kv_cache.settings.lengths: 12 does not fit; it is a list, each a whole number from 1.",
    ),
    "no windows of an experiment": (
        {"experiments": {"quality": {"settings": {"windows": 0}}}},
        CAMPAIGN,
        "experiments.quality.settings.windows: 0 does not fit",
    ),
    "a text of an experiment that is not there": (
        {"experiments": {"quality": {"settings": {"text": "nofile.txt"}}}},
        CAMPAIGN,
        "experiments.quality.settings.text: there is no file nofile.txt in the repository.",
    ),
    "a limit of nothing": (
        {"limits": {"memory_gb": 0}},
        CAMPAIGN,
        "limits.memory_gb: 0 does not fit (0 is less than or equal to the minimum of 0); it is a number of GB above 0.",
    ),
    "an unknown limit": (
        {"limits": {"memory": 8}},
        CAMPAIGN,
        "limits: unknown key memory; the keys here are kl, memory_gb, tpot_ms, ttft_ms.",
    ),
    "a limit in words": ({"limits": {"ttft_ms": "200"}}, CAMPAIGN, 'limits.ttft_ms: "200" does not fit'),
    "a limit without end": ({"limits": {"kl": float("inf")}}, CAMPAIGN, "limits.kl: Infinity does not fit"),
    "a limit that is no number": ({"limits": {"kl": float("nan")}}, CAMPAIGN, "limits.kl: NaN does not fit"),
    "more at least than at most": (
        {"measure": {"max_iterations": 2}},
        CAMPAIGN,
        "measure: max_iterations must be at least min_iterations; they are 2 and 3, one of them by default.",
    ),
    "several baselines": ({"baseline": {"precision": ["bf16", "nf4"]}}, CAMPAIGN, "baseline.precision: "),
}


@pytest.mark.parametrize("changes, rest, beginning", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_sentence_that_names_it(changes, rest, beginning):
    with pytest.raises(CampaignError) as caught:
        load_campaign({**(rest or {}), **changes})
    assert str(caught.value).startswith(beginning)
    assert "\n" not in str(caught.value)


WRONG_FILES = {
    "no YAML": (
        "name: mine\n new_tokens: 4",
        "config/hydra/workload/mine.yaml cannot be read: mapping values are",
    ),
    "no mapping": ("- mine", "config/hydra/workload/mine.yaml: it is not a mapping of keys"),
    "another's name": (
        "name: other",
        "config/hydra/workload/mine.yaml: name is other; give it the file's own, mine.",
    ),
    "absent prompts": (
        "prompts: none.yaml",
        "config/hydra/workload/mine.yaml: prompts: there is no file none.yaml",
    ),
    "prompts that are no list": ("prompts: config/own.yaml", "config/own.yaml: it is not a list of texts"),
}


@pytest.mark.parametrize("text, beginning", WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_hydra_file_that_cannot_be_is_named(monkeypatch, tmp_path, text, beginning):
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    (tmp_path / "config/own.yaml").write_text("prompts: [a, b]")
    (tmp_path / "config/hydra/workload/mine.yaml").write_text(text)
    monkeypatch.setattr(campaigns, "REPOSITORY", tmp_path)
    monkeypatch.setattr(campaigns, "HYDRA_DIR", tmp_path / "config/hydra")
    with pytest.raises(CampaignError) as caught:
        load_campaign({**CAMPAIGN, **axes(workload=["mine"])})
    assert str(caught.value).startswith(beginning)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "axis, text, sentence",
    [
        (
            "execution",
            "name: mine",
            "config/hydra/execution/mine.yaml: module is missing; it names a module of scripts/inferbench/engines.",
        ),
        (
            "precision",
            "name: mine\nlibrary: bitsnbytes",
            "config/hydra/precision/mine.yaml: library: there is no module scripts/inferbench/precision/bitsnbytes.py.",
        ),
        ("precision", "defaults: [nf4, _self_]\nname: mine", None),  # which takes it from base_4bit
    ],
)
def test_a_hydra_file_names_the_module_of_its_code(monkeypatch, tmp_path, axis, text, sentence):
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    (tmp_path / f"config/hydra/{axis}/mine.yaml").write_text(text)
    monkeypatch.setattr(campaigns, "REPOSITORY", tmp_path)
    monkeypatch.setattr(campaigns, "HYDRA_DIR", tmp_path / "config/hydra")
    declared = {**CAMPAIGN, **axes(**{axis: ["mine"]}), "baseline": {axis: "mine"}}
    if sentence is None:
        assert load_campaign(declared)["axes"][axis] == ["mine"]
        return
    with pytest.raises(CampaignError) as caught:
        load_campaign(declared)
    assert str(caught.value) == sentence


def test_an_unknown_name_lists_those_that_there_are():
    with pytest.raises(CampaignError) as caught:
        load_campaign({**CAMPAIGN, **axes(attention=["flash"])})
    listed = str(caught.value).split("there are ")[1].rstrip(".").split(", ")
    assert {"eager", "sdpa", "flash_attention_2"} <= set(listed)


def test_bases_that_options_share_are_no_options():
    assert "nf4" in hydra_options("precision")
    assert not any("base" in name for name in (*hydra_options("precision"), *hydra_options("workload")))


def too_long(tmp_path, monkeypatch, positions, **changes):
    """The sentence, or None, for a campaign on a model with so many positions, besides `tiny`."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    monkeypatch.setattr(campaigns, "REPOSITORY", tmp_path)
    monkeypatch.setattr(campaigns, "HYDRA_DIR", tmp_path / "config/hydra")
    architecture = {"model_type": "gpt_neo", "max_position_embeddings": positions}
    made = {"name": "short", "source": "synthetic", "path": "models/short", "architecture": architecture}
    (tmp_path / "config/hydra/model/short.yaml").write_text(yaml.safe_dump(made))
    campaign = load_campaign({**CAMPAIGN, **axes(model=["short", "tiny"]), **changes})
    try:
        check_contexts(campaign, expand(campaign), "models")
    except CampaignError as error:
        return str(error)


@pytest.mark.parametrize(
    "positions, changes, sentence",
    [
        (18, {}, None),  # the workload tiny asks for 12 + 6
        (17, {}, "model short, workload tiny: the model has 17 positions, and 18 are asked for"),
        (17, {"exclude": [{"model": "short", "workload": "tiny"}], "also": [{"model": ["tiny"]}]}, None),
        # kv_cache: a prompt of 512 tokens, its first token and 4 steps, or the 6 of a check
        (517, {"experiments": {"kv_cache": {}}}, "model short, experiment kv_cache: the model has 517 positions, and 518"),
        (518, {"experiments": {"kv_cache": {}}}, None),
        (83, {"experiments": {"speculative": {"draft_tokens": [2, 4]}}}, "experiment speculative: the model has 83"),
        (84, {"experiments": {"speculative": {"draft_tokens": [2, 4]}}}, None),  # 32 + 48 + 4
        (64, {"experiments": {"quality": {"settings": {"window_tokens": 64}}}}, None),
        (63, {"experiments": {"quality": {"settings": {"window_tokens": 64}}}}, "experiment quality: the model has 63"),
    ],
)  # fmt: skip
def test_more_tokens_than_a_model_has_positions(tmp_path, monkeypatch, positions, changes, sentence):
    found = too_long(tmp_path, monkeypatch, positions, **changes)
    assert found is None if sentence is None else sentence in found


def test_files_are_read_once_per_model_and_workload(monkeypatch):
    read = []
    ordinary = campaigns._read
    campaign = load_campaign({**CAMPAIGN, **axes(batch_size=list(range(1, 200)))})
    monkeypatch.setattr(campaigns, "_read", lambda path: read.append(path) or ordinary(path))
    check_contexts(campaign, expand(campaign), "models")
    assert len(read) == 3  # the workload, what it is based on, the model
