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
quantisation: fp4
double_quantisation: true
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
