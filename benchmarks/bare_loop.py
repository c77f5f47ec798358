"""Reported decode speed over that of a bare loop, written out: what this pipeline adds to a measurement.

    python benchmarks/bare_loop.py model=smollm2-135m precision=bf16 batch_size=1 --pairs 5

Runs the bare loop and scripts/benchmark.py in turns, each in a fresh process, and prints both medians
and their ratio. The bare loop shares no code with the project: transformers alone. With
execution=cuda_graph it is one whose step is a CUDA graph.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq

REPOSITORY = Path(__file__).resolve().parents[1]
BARE = """
import json, os, statistics, sys, time
import torch
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache
path, dtype, captured, batch, prompt, new, runs = *sys.argv[1:3], sys.argv[3] == "cuda_graph", *map(int, sys.argv[4:8])
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_num_threads(2)
model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype), device_map={"": device}).eval()
ids = torch.randint(0, model.config.vocab_size, (batch, prompt), device=device)
rates = []


def one_step():
    token.copy_(model(token, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].argmax(-1, keepdim=True))


def captured_rate():
    for layer in cache.layers:
        layer.cumulative_length.fill_(prompt)
    started = time.perf_counter()
    for _ in range(new - 1):
        graph.replay()
        token.tolist()
    return batch * (new - 1) / (time.perf_counter() - started)


with torch.inference_mode():
    if captured:
        cache = StaticCache(config=model.config, max_cache_len=prompt + new)
        logits = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        token = logits.argmax(-1, keepdim=True)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                one_step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            one_step()
        rates = [captured_rate() for _ in range(runs + 2)]
    for _ in range(0 if captured else runs + 2):
        cache = DynamicCache(config=model.config)
        logits = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        token = logits.argmax(-1, keepdim=True)
        token.tolist()
        started = time.perf_counter()
        for _ in range(new - 1):
            logits = model(token, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
            token = logits.argmax(-1, keepdim=True)
            token.tolist()
        rates.append(batch * (new - 1) / (time.perf_counter() - started))
print(json.dumps(statistics.median(rates[2:])))
"""


def main() -> None:
    overrides = [word for word in sys.argv[1:] if "=" in word]
    pairs = int(sys.argv[sys.argv.index("--pairs") + 1]) if "--pairs" in sys.argv else 3
    measured, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "cell.parquet"
        for _ in range(pairs):
            command = [
                sys.executable,
                "scripts/benchmark.py",
                *overrides,
                "workload.lengths=equal",
                f"output={output}",
            ]
            subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
            config, rate = reported(output)
            measured.append(rate)
            bare.append(bare_rate(config))
            print(f"reported {measured[-1]:.2f}  bare {bare[-1]:.2f} tokens/s", flush=True)
    print(f"ratio of medians {median(measured) / median(bare):.3f} over {pairs} pairs")


def reported(output: Path) -> tuple[dict, float]:
    """(resolved config, decode tokens/s): the median over iterations of batch / mean inter-token time."""
    table = pq.read_table(output)
    config = json.loads(table.schema.metadata[b"provenance"])["config"]
    gaps = [sum(row) / len(row) for row in table["itl_ms"].to_pylist()]
    return config, 1000 * config["batch_size"] / median(gaps)


def bare_rate(config: dict) -> float:
    """The same model, dtype, lengths and batch through the bare loop, in a fresh process."""
    workload = config["workload"]
    sizes = [config["batch_size"], workload["prompt_tokens"], workload["new_tokens"], 5]
    named = [config["model"]["path"], config["precision"]["dtype"], config["execution"]["mode"]]
    arguments = [*named, *map(str, sizes)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(config["cpu_threads"]),
        "TRANSFORMERS_VERBOSITY": "error",
    }
    done = subprocess.run(
        [sys.executable, "-c", BARE, *arguments],
        cwd=REPOSITORY,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
