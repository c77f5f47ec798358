"""The recipes of CONTRIBUTING.md, followed: what they name is written, nothing else, and a tiny campaign measures it."""

MODEL = """
name: tiny-qwen
source: synthetic
path: ${models_dir}/tiny-qwen
seed: 0
architecture:
  model_type: qwen2
  num_hidden_layers: 1
  hidden_size: 64
  num_attention_heads: 4
  num_key_value_heads: 2
  intermediate_size: 128
  vocab_size: 256
  max_position_embeddings: 128
"""
PRECISION = """
defaults: [base_4bit, _self_]
name: fp4-double
options: {quantisation: fp4, double_quantisation: true}
"""
ATTENTION = """
name: sdpa-math
implementation: sdpa_math
shown_as: _scaled_dot_product_attention_math
code: scripts/sdpa_math.py
"""
ATTENTION_CODE = """
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask


def sdpa_math(*args, **options):
    with sdpa_kernel(SDPBackend.MATH):
        return sdpa_attention_forward(*args, **options)


AttentionInterface.register("sdpa_math", sdpa_math)
AttentionMaskInterface.register("sdpa_math", sdpa_mask)
"""


def measured(checkout, **axes):
    """The rows of the tiny campaign with these axes, by cell."""
    checkout.campaign(axes={"batch_size": [2], **axes}, baseline={"batch_size": 2})
    done = checkout.snakemake("results/tiny/measurements.parquet")
    assert done.code == 0, done.output
    return checkout.table("results/tiny/measurements.parquet").set_index("cell")


def test_a_model_a_precision_and_an_attention_backend_are_a_file_each(fresh):
    fresh.path("config/hydra/model/tiny-qwen.yaml").write_text(MODEL)
    fresh.path("config/hydra/precision/fp4-double.yaml").write_text(PRECISION)
    fresh.path("config/hydra/attention/sdpa-math.yaml").write_text(ATTENTION)
    fresh.path("scripts/sdpa_math.py").write_text(ATTENTION_CODE)
    rows = measured(fresh, model=["tiny-qwen"], precision=["fp4-double"], attention=["sdpa-math"])
    row = rows.loc["tiny-qwen--fp4-double--sdpa-math--loop--tiny--b2"]
    assert row["status"] == "ok", row["reason"]
    # Embedding and head (256 x 64 each); query and output (64 x 64), key and value (64 x 32), their biases; three
    # matrices of 64 x 128; three norms.
    assert row["parameters"] == 2 * 256 * 64 + 2 * 64 * 64 + 2 * 64 * 32 + 128 + 3 * 64 * 128 + 3 * 64
    assert row["quantised_share"] > 0.9
    assert row["effective_attention"] == "prefill sdpa_math, decode sdpa_math"
    # What registers the backend decides what the cell means.
    fresh.append("scripts/sdpa_math.py", "\nADDED = 1\n")
    planned = fresh.planned("results/tiny/measurements.parquet")
    assert planned == {"tiny-qwen--fp4-double--sdpa-math--loop--tiny--b2/1", "aggregate_cells"}


def test_an_attention_backend_that_computes_something_else_has_no_number(fresh):
    wrong = ATTENTION_CODE.replace("(*args, **options)\n\n", "(*args, **{**options, 'scaling': 9.0})\n\n")
    assert wrong != ATTENTION_CODE
    fresh.path("config/hydra/attention/sdpa-math.yaml").write_text(ATTENTION)
    fresh.path("scripts/sdpa_math.py").write_text(wrong)
    [row] = measured(fresh, precision=["fp32"], attention=["sdpa-math"]).itertuples()
    assert row.status == "failed"
    assert "logits differ from the plain loop's" in row.reason


def test_a_library_of_weight_formats_is_a_module_and_concerns_its_own_precisions(fresh):
    measured(fresh, precision=["fp32"], attention=["sdpa"])
    fresh.commit()
    plain = fresh.path("scripts/inferbench/precision/plain.py").read_text()
    fresh.path("scripts/inferbench/precision/another.py").write_text(plain)
    fresh.path("config/hydra/precision/fp32-another.yaml").write_text(
        "name: fp32-another\ndtype: float32\nlibrary: another\n"
    )
    assert fresh.planned("results/tiny/measurements.parquet") == set()
    rows = measured(fresh, precision=["fp32", "fp32-another"], attention=["sdpa"])
    assert rows["status"].tolist() == ["ok", "ok"], rows["reason"].tolist()
    first, second = rows["weight_bytes"]
    assert first == second
    assert fresh.changed() == {
        "scripts/inferbench/precision/another.py",
        "config/hydra/precision/fp32-another.yaml",
        "config/config.yaml",
    }


ENGINE = """
\"\"\"The plain loop, told apart by its name.\"\"\"

from inferbench.engines.decoding import LoopDecoder
from inferbench.engines.transformers_model import TransformersEngine


def refusal(config, device):
    if config.model.gpus > 1:
        return "another runs on one GPU"
    return None


class Engine(TransformersEngine):
    def prepare(self, batch, new_tokens):
        self.stepper = LoopDecoder(self.model)
"""


def test_an_engine_is_a_module_and_a_hydra_file_and_concerns_its_own_cells(fresh):
    measured(fresh, precision=["fp32"], attention=["sdpa"])
    fresh.commit()
    fresh.path("scripts/inferbench/engines/another.py").write_text(ENGINE)
    fresh.path("config/hydra/execution/another.yaml").write_text("name: another\nmodule: another\n")
    assert fresh.planned("results/tiny/measurements.parquet") == set()
    rows = measured(fresh, precision=["fp32"], attention=["sdpa"], execution=["loop", "another"])
    assert rows["status"].tolist() == ["ok", "ok"], rows["reason"].tolist()
    assert fresh.changed() == {
        "scripts/inferbench/engines/another.py",
        "config/hydra/execution/another.yaml",
        "config/config.yaml",  # the campaign that asks for it
    }
    # An edit of its module measures its own cells again.
    fresh.append("scripts/inferbench/engines/another.py", "\nADDED = 1\n")
    assert fresh.planned("results/tiny/measurements.parquet") == {
        "tiny--fp32--sdpa--another--tiny--b2/1",
        "aggregate_cells",
    }


FIGURE = '''
"""How many replicates ended how."""

import matplotlib.pyplot as plt

from inferbench.presentation.style import heading


def draw(measurements, summary):
    """The figure and its data."""
    data = measurements.groupby("status").size().rename("replicates").reset_index()
    figure, axes = plt.subplots(layout="constrained")
    axes.barh(data["status"], data["replicates"])
    heading(figure, "Replicates by status")
    return figure, data
'''
FIGURE_ENTRY = """    figures=(
        Figure(
            name="statuses",
            title="Replicates by status",
            caption="How many ended how.",
            category="Status",
            module="figures.statuses",
        ),
"""


def test_a_figure_of_the_grid_is_a_module_and_an_entry(finished):
    finished.path("scripts/inferbench/experiments/grid/figures/statuses.py").write_text(FIGURE)
    finished.edit("scripts/inferbench/experiments/grid/spec.py", "    figures=(\n", FIGURE_ENTRY)
    assert finished.planned() == {"draw_statuses", "write_report", "all"}
    done = finished.snakemake()
    assert done.code == 0, done.output
    # 2 precisions and 2 batch sizes of each attention; flash_attention_2 needs a GPU.
    drawn = finished.path("results/tiny/figures/statuses.csv").read_text().splitlines()
    assert drawn == ["status,replicates", "ok,4", "unsupported,4"]
    assert "How many ended how." in finished.path("results/tiny/report.html").read_text()


#: An experiment `prefill`: the first prefill of a process, and later ones.
EXPERIMENT = {
    "config/hydra/experiment/prefill.yaml": """
defaults: [prefill_schema, _self_]
name: prefill
prompts: config/prompts.yaml
prompt_tokens: 16
rounds: 3
""",
    "scripts/inferbench/experiments/prefill/__init__.py": '"""The first prefill of a process, and later ones."""\n',
    "scripts/inferbench/experiments/prefill/spec.py": '''
"""What a campaign is planned from: this experiment has no axes of its own, and one figure."""

from inferbench.settings.spec import Figure, Spec

SPEC = Spec(
    place=7,
    axes={},
    figures=(
        Figure(name="prefill", title="First prefill", caption="And later ones.", category="Prefill"),
    ),
)
''',
    "scripts/inferbench/experiments/prefill/measure.py": '''
"""The first prefill of a process, and later ones."""

import time

import torch

from inferbench.engines.decoding import LoopDecoder
from inferbench.measure.setup import load_checked
from inferbench.models.prompts import PromptBatch, joined_prompt


def measure(config, device, stages, record):
    """Fill `record`; a sample is one prefill."""
    settings = config.experiment
    model, tokenizer = load_checked(config, device, stages, record)
    ids = joined_prompt(settings.prompts, settings.prompt_tokens, config.seed, tokenizer, model)
    batch, decoder = PromptBatch(torch.tensor([ids], device=device), None), LoopDecoder(model)
    record["samples"] = []
    with stages("measure"):
        for _ in range(settings.rounds):
            started = time.perf_counter()
            decoder.prefill(batch).tolist()
            record["samples"].append({"prefill_ms": 1000 * (time.perf_counter() - started)})
''',
    "scripts/inferbench/experiments/prefill/settings.py": '''
"""What can be set of the experiment `prefill`; the values stand in its Hydra file."""

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass
class Settings:
    name: str = "prefill"
    prompts: str = MISSING
    prompt_tokens: int = MISSING
    rounds: int = MISSING
''',
    "scripts/inferbench/experiments/prefill/table.py": '''
"""The table of the experiment `prefill`: a row per cell and replicate."""

from inferbench.tables.schema import integer, number

KEY = ("cell", "replicate")
COLUMNS = {
    "first_ms": number("time of the process's first prefill"),
    "later_ms": number("time of the last one"),
    "rounds": integer("prefills"),
}


def rows(config, record, samples):
    """The row of one job that ended ok."""
    times = [sample["prefill_ms"] for sample in samples]
    return [{"first_ms": times[0], "later_ms": times[-1], "rounds": len(times)}]
''',
    "scripts/inferbench/experiments/prefill/section.py": '''
"""What the report says of the experiment `prefill`."""

from inferbench.presentation.sections import Section


def section(table, samples):
    """The section of the table and its samples."""
    return Section("Prefill", "What does the first prefill cost?", [f"{len(samples)} prefills were timed."])
''',
    "scripts/inferbench/experiments/prefill/figures.py": '''
"""Draw the first prefill of a process beside the last."""

import matplotlib.pyplot as plt

from inferbench.presentation.style import heading


def draw(table, samples, summary):
    """The figure and its data."""
    data = table[["cell", "first_ms", "later_ms"]]
    figure, axes = plt.subplots(layout="constrained")
    axes.plot(data["first_ms"].astype(float), data["later_ms"].astype(float), "o")
    heading(figure, "First prefill, and later ones")
    return figure, data

''',
}
#: file -> (line, what stands there then)
DECLARATIONS = {
    "workflow/schemas/config.schema.yaml": (
        "      streaming:\n",
        """      prefill:
        type: object
        additionalProperties: false
        properties: {model: *names, precision: *names, attention: *names, replicates: *replicates, settings: *settings}
      streaming:
""",
    ),
}


def test_an_experiment_is_a_folder_a_hydra_file_and_a_declaration(fresh):
    for name, text in EXPERIMENT.items():
        fresh.path(name).parent.mkdir(exist_ok=True)
        fresh.path(name).write_text(text)
    for name, (line, then) in DECLARATIONS.items():
        fresh.edit(name, line, then)
    fresh.campaign(
        axes={"precision": ["fp32"], "attention": ["sdpa"], "batch_size": [1]},
        baseline={"precision": "fp32"},
        experiments={"prefill": {"settings": {"rounds": 4}}},
    )
    done = fresh.snakemake("prefill", "results/tiny/report.html")
    assert done.code == 0, done.output
    [row] = fresh.table("results/tiny/prefill.parquet").itertuples()
    assert (row.cell, row.status, row.rounds) == ("tiny--fp32--sdpa", "ok", 4)
    assert row.first_ms > 0 and row.later_ms > 0
    assert fresh.path("results/tiny/figures/prefill.svg").exists()
    assert "4 prefills were timed." in fresh.path("results/tiny/report.html").read_text()
