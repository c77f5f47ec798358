"""What held a measurement back is told by the driver's counters, here a driver of this test's own: this machine has none."""

import io
import time

import pytest

from experiment_jobs import measured
from inferbench.device.nvml import Snapshot
from inferbench.experiments.batching.settings import Settings as Batching
from inferbench.experiments.grid import measure as grid
from inferbench.experiments.kv_cache.settings import Cache
from inferbench.experiments.kv_cache.settings import Settings as KvCache
from inferbench.experiments.streaming.settings import Settings as Streaming
from inferbench.measure import setup
from inferbench.measure.guard import Guard
from inferbench.measure.stages import Stages
from inferbench.run.parts import part
from inferbench.settings.job import MeasureConfig
from tiny_models import CPU, benchmark_config, tiny_llama

PROMPTS = "config/prompts.yaml"
EXPERIMENTS = {
    "batching": Batching(prompts=PROMPTS, batch_size=2, new_tokens=3, rounds=1),
    "kv_cache": KvCache(prompts=PROMPTS, cache=Cache.dynamic, lengths=[4, 8], steps=2),
    "streaming": Streaming(prompts=PROMPTS, prompt_tokens=4, new_tokens=3, rounds=2),
}


class HotGpu:
    """A driver whose GPU is slowed for its heat at the first look that follows `looks` others."""

    def __init__(self, looks=1, foreign=0):
        self.looks = looks
        self.foreign = foreign

    def identity(self):
        return {"device_name": "made-up", "device_uuid": "GPU-0", "driver": "1"}

    def snapshot(self):
        self.looks -= 1
        return Snapshot({"thermal": 0.0 if self.looks >= 0 else 0.1}, self.foreign)

    def energy_j(self):
        return None


def stages_with(gpus):
    stages = Stages(io.StringIO(), time.time())
    stages.guard = Guard(gpus)
    return stages


def run(stages, *names):
    for name in names:
        with stages(name):
            pass
    return stages.guard.flags


def test_only_what_is_measured_is_watched():
    assert run(stages_with(HotGpu(looks=0, foreign=0)), "warmup", "load") == []


def test_each_measurement_is_watched_and_a_flag_is_told_once():
    # Looks: before and after each of three measurements; slowed during the second.
    assert run(stages_with(HotGpu(looks=3)), "measure", "measure", "measure") == ["throttled"]
    # Slowed between the first and the second: neither was.
    assert run(stages_with(HotGpu(looks=2)), "measure", "measure") == []
    assert run(stages_with(HotGpu(looks=9, foreign=1)), "measure", "measure") == ["contended"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_whose_gpu_was_slowed_says_so(name, tmp_path, monkeypatch):
    monkeypatch.setattr(setup, "open_gpus", lambda device: HotGpu())
    _, record, _ = measured(part(name, "measure"), EXPERIMENTS[name], tmp_path)
    assert record["flags"] == ["throttled"]


def test_a_cell_of_the_grid_whose_gpu_was_slowed_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(setup, "open_gpus", lambda device: HotGpu())
    tiny_llama().save_pretrained(tmp_path)
    config = benchmark_config(measure=MeasureConfig(min_iterations=2, max_iterations=2, min_seconds=0))
    config.model.path = str(tmp_path)
    record = {}
    grid.measure(config, CPU, Stages(io.StringIO(), time.time()), record)
    assert "throttled" in record["flags"]
