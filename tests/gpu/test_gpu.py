"""On a CUDA GPU: captured and compiled steps are right, and the driver sees a competing process."""

import io
import os
import subprocess
import sys
import time

import pytest
import torch

from experiment_jobs import experiment_config
from inferbench.device import nvml
from inferbench.device.ceilings import measure_ceilings
from inferbench.device.device import open_gpus
from inferbench.device.profiling import profile_call
from inferbench.engines.decoding import LoopDecoder, decode
from inferbench.experiments.batching import measure as batching
from inferbench.experiments.batching.settings import Settings as Batching
from inferbench.experiments.kv_cache import measure as kv_cache
from inferbench.experiments.kv_cache.settings import Cache
from inferbench.experiments.kv_cache.settings import Settings as KvCache
from inferbench.experiments.streaming import measure as streaming
from inferbench.experiments.streaming.settings import Settings as Streaming
from inferbench.measure import checks
from inferbench.measure.stages import Stages
from inferbench.settings.job import Dtype
from tiny_models import benchmark_config, engine_with, generated, tiny_llama, unequal_batch

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda", 0)
NEW = 12


def captured(model, batch, mode):
    decoder = engine_with(mode, model, batch).stepper
    decoder.capture(batch)
    assert decoder.graph is not None
    return decoder


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("mode", ["cuda_graph", "compiled"])
def test_captured_modes_give_the_loops_tokens_in_fp32(mode, attention):
    model, batch = tiny_llama(attention, device=GPU), unequal_batch(GPU)
    expected = decode(LoopDecoder(model), batch, NEW).tokens
    assert torch.equal(generated(model, batch, NEW).tokens, expected)
    decoder = captured(model, batch, mode)
    checks.check_replay(decoder, batch)
    checks.check_logits(model, decoder, batch, benchmark_config(mode, attention))
    assert torch.equal(decode(decoder, batch, NEW).tokens, expected)


def test_captured_flash_attention_is_right_with_padding():
    pytest.importorskip("flash_attn")
    model = tiny_llama("flash_attention_2", torch.bfloat16, GPU, head_dim=64)
    batch = unequal_batch(GPU)
    decoder = captured(model, batch, "cuda_graph")
    config = benchmark_config("cuda_graph", "flash_attention_2", Dtype.bfloat16)
    checks.check_replay(decoder, batch)
    checks.check_logits(model, decoder, batch, config)


class NeverReplayed:
    def replay(self):
        pass


def test_a_graph_that_is_never_replayed_is_caught():
    model, batch = tiny_llama(device=GPU), unequal_batch(GPU)
    decoder = captured(model, batch, "cuda_graph")
    decoder.graph = NeverReplayed()
    with pytest.raises(checks.CheckFailed):
        checks.check_replay(decoder, batch)


def test_ceilings_are_near_the_datasheet():
    found = measure_ceilings(GPU)
    if found["datasheet_bandwidth_gb_s"] is None:
        pytest.skip("no datasheet figure for this GPU")
    assert 0.5 < found["copy_bandwidth_gb_s"] / found["datasheet_bandwidth_gb_s"] < 1.05
    assert 0.3 < found["matmul_tflop_s"] / found["datasheet_tflop_s"] < 1.05


@pytest.mark.parametrize("replayed", [False, True])
def test_a_profiled_step_has_kernels_and_busy_time(replayed):
    model, batch = tiny_llama(device=GPU), unequal_batch(GPU)
    decoder = captured(model, batch, "cuda_graph") if replayed else LoopDecoder(model)
    token = decoder.prefill(batch)
    decoder.step(token)
    profile = profile_call(lambda: decoder.step(token), GPU)
    assert profile.class_ms["matmul"] > 0
    assert 0 < profile.busy_ms <= sum(profile.class_ms.values()) * 1.001


COMPETITOR = (
    "import torch, time; x = torch.ones(8, device='cuda'); print('ready', flush=True); time.sleep(60)"
)


def test_a_competing_process_is_seen():
    torch.ones(1, device=GPU)
    gpus = open_gpus(GPU)
    if gpus is None:
        pytest.skip("no driver interface")
    alone = gpus.snapshot()
    competitor = subprocess.Popen([sys.executable, "-c", COMPETITOR], stdout=subprocess.PIPE, env=os.environ)
    try:
        competitor.stdout.readline()
        time.sleep(1)
        crowded = gpus.snapshot()
    finally:
        competitor.kill()
        competitor.wait()
    assert "contended" not in nvml.validity_flags(alone, alone, 1.0)
    assert "contended" in nvml.validity_flags(alone, crowded, 1.0)


@pytest.mark.parametrize("measure", [batching.measure, streaming.measure, kv_cache.measure])
def test_experiments_capture_their_steps(tmp_path, measure):
    """Batching also proves there that its captured steps give the same texts in a batch as alone."""
    settings = {
        batching.measure: Batching(prompts="config/prompts.yaml", batch_size=3, new_tokens=8, rounds=1),
        streaming.measure: Streaming(prompts="config/prompts.yaml", prompt_tokens=5, new_tokens=8, rounds=1),
        kv_cache.measure: KvCache(
            prompts="config/prompts.yaml", cache=Cache.static, lengths=[8, 16], steps=2
        ),
    }[measure]
    tiny_llama().save_pretrained(tmp_path)
    record = {}
    config = experiment_config(settings, tmp_path)
    measure(config, GPU, Stages(io.StringIO(), time.time()), record)
    assert record["host_bound"] is False
    assert record["samples"]
