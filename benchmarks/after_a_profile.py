"""A token's time before and after the process has been profiled once, and their ratio.

    python benchmarks/after_a_profile.py model=synthetic-llama-3.1-8b attention=flash_attention_2 \\
        execution=cuda_graph workload=p128n128

Takes what scripts/benchmark.py takes. Why a cell is profiled last: once torch's profiler has run, the driver
launches the kernels of a CUDA graph one by one.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from statistics import median

import hydra
from omegaconf import DictConfig

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "scripts"))

from inferbench.device.device import pick_device, set_up
from inferbench.device.profiling import profile_call
from inferbench.engines.by_name import engine_module
from inferbench.experiments.grid.measure import iteration
from inferbench.models.load import load_tokenizer
from inferbench.models.prompts import make_batch
from inferbench.run.compose import register, resolve

RUNS = 6

register()


@hydra.main(version_base="1.3", config_path="../config/hydra", config_name="benchmark")
def main(config: DictConfig) -> None:
    config.output = "none"
    cell = resolve(config)
    device = pick_device(cell)
    set_up(cell)
    engine = engine_module(cell.execution).Engine(cell, device)
    engine.load()
    tokenizer = load_tokenizer(cell.model)
    batch = engine.ask(partial(make_batch, cell.workload, cell.batch_size, cell.seed, tokenizer))
    engine.prepare(batch, cell.workload.new_tokens)

    def token_ms() -> float:
        runs = [iteration(engine.run(batch, cell.workload.new_tokens)) for _ in range(RUNS)]
        return median(median(run["itl_ms"]) for run in runs[1:])

    before = token_ms()
    profile_call(lambda: engine.run(batch, 2), device)
    after = token_ms()
    print(f"{before:.3f} ms a token, {after:.3f} after a profile: ratio {after / before:.3f}")


if __name__ == "__main__":
    main()
