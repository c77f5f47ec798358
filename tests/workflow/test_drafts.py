"""A draft with a model of its own: made, measured and drawn by the target `speculative`."""

SMALLER = """
defaults: [/model@model: smaller, /precision@precision: fp32, _self_]
name: smaller
method: model
"""


def test_a_smaller_model_is_made_and_proposes(fresh):
    tiny = fresh.path("config/hydra/model/tiny.yaml").read_text()
    smaller = tiny.replace("tiny", "smaller").replace("num_hidden_layers: 2", "num_hidden_layers: 1")
    assert smaller.count("smaller") >= 2 and "num_hidden_layers: 1" in smaller
    fresh.path("config/hydra/model/smaller.yaml").write_text(smaller)
    fresh.path("config/hydra/draft/smaller.yaml").write_text(SMALLER)
    fresh.campaign(
        axes={"precision": ["fp32"], "attention": ["sdpa"], "batch_size": [1]},
        baseline={"precision": "fp32"},
        experiments={
            "speculative": {
                "draft": ["smaller"],
                "draft_tokens": [2],
                "strategy": ["greedy"],
                "settings": {"prompt_count": 1, "prompt_tokens": 8, "new_tokens": 8},
            }
        },
    )
    done = fresh.snakemake("speculative")
    assert done.code == 0, done.output
    assert fresh.path("models/smaller/model.safetensors").exists()
    [row] = fresh.table("results/tiny/speculative.parquet").to_dict("records")
    assert (row["status"], row["draft"], row["draft_tokens"]) == ("ok", "smaller", 2)
    assert row["equal_texts"] == 1
    # one layer of two, beside the same embedding
    assert 0 < row["draft_weight_bytes"] < row["weight_bytes"]
    assert fresh.path("results/tiny/figures/speculative.svg").exists()
