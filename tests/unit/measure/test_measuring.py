"""What is read off a measurement: when to stop, kernels, memory, the driver's flags."""

import importlib
import io
import os
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from inferbench.device import ceilings, nvml, profiling
from inferbench.engines import loop
from inferbench.engines.protocol import Timeline
from inferbench.experiments.grid import measure as cell
from inferbench.measure import reasons
from inferbench.measure.stages import Stages
from inferbench.measure.timing import came_to_rest, half_difference, is_steady, timed, warm_up
from inferbench.models import facts, memory
from inferbench.run import worker
from inferbench.settings.job import Dtype, MeasureConfig, PrecisionConfig
from inferbench.settings.outcomes import Hopeless
from tiny_models import CPU, attention_config, benchmark_config, tiny_llama


def runs(*seconds):
    """A run function whose calls take these many seconds, by their own clock."""
    waiting = iter(seconds)
    return lambda: Timeline(None, [[0.0, next(waiting)]])


def test_warm_up_ends_when_runs_agree_and_says_so():
    settings = MeasureConfig(warmup_min_iterations=2, warmup_max_iterations=10, steady_tolerance=0.02)
    slow_start = runs(9.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert warm_up(slow_start, settings) is True
    never = runs(*range(1, 11))
    assert warm_up(never, settings) is False


def test_steady_compares_medians_of_halves():
    assert is_steady([5.0, 1.00, 1.01], 0.02) is False  # median of 5.0 alone against 1.01
    assert is_steady([1.0, 1.0, 1.01, 1.01], 0.02) is True
    assert is_steady([1.0], 0.02) is False
    assert half_difference([1.0, 1.0, 1.2, 1.2]) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("milliseconds", "steady", "expected"),
    [
        ([50, 50, 55, 55], False, True),
        ([50, 50, 65, 65], False, False),  # 30% from the first half to the second
        ([50, 50, 65, 65], True, True),
        ([103, 170, 103], True, False),  # 170 is more than 1.5 times 103, though the first is as the last
        ([50], False, True),
    ],
)
def test_a_process_is_noted_where_its_runs_did_not_come_to_rest(milliseconds, steady, expected):
    assert came_to_rest(milliseconds, steady) is expected


def test_measuring_stops_at_the_target_but_not_before_the_minimum():
    settings = MeasureConfig(
        min_iterations=3, max_iterations=30, min_seconds=0, target_relative_interval=0.02
    )
    assert len(timed(runs(*[1.0] * 30), settings)) == 3
    noisy = runs(*[1.0, 2.0] * 15)
    assert len(timed(noisy, settings)) == 30


def test_nothing_is_profiled_before_it_is_timed(tmp_path, monkeypatch):
    """What the profiler leaves in a process slows every later launch of a graph."""
    tiny_llama().save_pretrained(tmp_path)
    config = benchmark_config(measure=MeasureConfig(min_iterations=2, max_iterations=2, min_seconds=0))
    config.model.path = str(tmp_path)
    order = []
    entered, decoded = torch.profiler.profile.__enter__, loop.Engine.run
    monkeypatch.setattr(
        torch.profiler.profile, "__enter__", lambda self: order.append("profiled") or entered(self)
    )
    monkeypatch.setattr(loop.Engine, "run", lambda *run: order.append("decoded") or decoded(*run))
    record = {}
    cell.measure(config, CPU, Stages(io.StringIO(), time.time()), record)
    assert order[-2:] == ["profiled", "profiled"]  # the prefill and a step
    assert set(order[:-2]) == {"decoded"}
    assert record["effective_attention"].startswith("prefill sdpa:")


def test_union_of_overlapping_kernels():
    # 0-2 and 1-3 overlap to 3; 5-6 is apart; 5.2-5.8 lies within it.
    assert profiling.union_length([(1, 3), (0, 2), (5, 6), (5.2, 5.8)]) == 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("void pytorch_flash::flash_fwd_splitkv_kernel<...>", {"sdpa:flash"}),
        ("void flash::flash_fwd_splitkv_kernel<...>", {"void flash::flash_fwd_splitkv_kernel<...>"}),
        ("fmha_cutlassF_bf16_aligned_64x128_rf_sm80(...)", {"sdpa:efficient"}),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", {"sdpa:flash"}),
        ("aten::_scaled_dot_product_attention_math", {"sdpa:math"}),
        ("aten::_softmax", {"eager"}),
        ("aten::mm", set()),
    ],
)
def test_attention_is_named_by_what_ran(name, expected):
    assert profiling.attention_names([name, "aten::add"]) == expected


@pytest.mark.parametrize(
    ("asked", "names", "expected"),
    [
        ("flash_attention_2", ["void flash::flash_fwd_splitkv_kernel<...>"], {"flash_attention_2"}),
        # The operator, and torch's name for the function around it.
        ("flash_attention_2", ["flash_attn::_flash_attn_forward", "FlashAttnFunc"], {"flash_attention_2"}),
        ("flash_attention_2", ["void pytorch_flash::flash_fwd_kernel<...>"], {"sdpa:flash"}),
        ("flash_attention_2", ["aten::_scaled_dot_product_attention_math", "aten::_softmax"], {"sdpa:math"}),
        ("flash_attention_3", ["flash_attn_3::fwd"], {"flash_attention_3"}),
        ("flash_attention_3", ["flash_attn::_flash_attn_forward"], {"flash_attn::_flash_attn_forward"}),
        ("flex_attention", ["triton_tem_fused_flex_attention_0"], {"flex_attention"}),
        ("flex_attention", ["aten::_softmax"], {"eager"}),
    ],
)
def test_an_attention_backend_is_known_by_the_pattern_of_its_own_file(asked, names, expected):
    assert profiling.attention_names(names, attention_config(asked)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nvjet_tst_64x8_64x16_4x1_v_bz_TNT", "matmul"),
        ("void gemv2T_kernel_val<int, ...>", "matmul"),
        ("void kgemm_4bit_inference_naive<__nv_bfloat16, 128, 16>", "matmul"),
        ("void kDequantizeBlockwise<__nv_bfloat16, 512, 64, 8, 2>", "dequantise"),
        ("kdequant_mm_int32_fp16", "dequantise"),
        ("void kInt8VectorQuant<__half, 1024, 0>", "dequantise"),
        ("void flash::flash_fwd_splitkv_kernel", "attention"),
        # Rows of up to 1,024 values, and longer ones: the weights of eager attention.
        ("void (anonymous namespace)::softmax_warp_forward<c10::BFloat16, ...>", "attention"),
        ("void at::native::(anonymous namespace)::cunn_SoftMaxForwardSmem<8, ...>", "attention"),
        ("void at::native::vectorized_elementwise_kernel<4, ...>", "other"),
    ],
)
def test_kernels_are_classed_by_name(name, expected):
    assert profiling.kernel_class(name) == expected


def test_hopeless_cells_are_skipped_with_the_arithmetic_and_near_ones_tried():
    memory.require_hope(149, 100)
    with pytest.raises(Hopeless, match=r"3\.0 GiB, more than 1\.5 times the 1\.0 GiB"):
        memory.require_hope(3 * 2**30, 2**30)


def test_predicted_weights_follow_the_precision():
    shape = facts.model_shape(tiny_llama().config)
    full = benchmark_config(dtype=Dtype.bfloat16)
    four_bit = benchmark_config(dtype=Dtype.bfloat16)
    four_bit.precision = PrecisionConfig("nf4", Dtype.bfloat16, "bitsandbytes", {"quantisation": "nf4"})
    # A weight inside the layers goes from 2 bytes to half a byte and a float32 per 64.
    saved = shape.layer_weights * (2 - 0.5 - 4 / 64)
    found = memory.predict_bytes(full, shape, CPU) - memory.predict_bytes(four_bit, shape, CPU)
    assert found == pytest.approx(saved, abs=1)


def test_predicted_activations_are_those_of_a_prompt_in_one_layer():
    shape = facts.model_shape(tiny_llama().config)
    short, long = benchmark_config(), benchmark_config()
    long.workload.prompt_tokens = short.workload.prompt_tokens + 100
    # Per token in float32: keys and values of all layers, three times the MLP's width, four times the model's.
    config = tiny_llama().config
    cached = 2 * 2 * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
    values = cached + 3 * config.intermediate_size + 4 * config.hidden_size
    found = memory.predict_bytes(long, shape, CPU) - memory.predict_bytes(short, shape, CPU)
    assert found == 100 * short.batch_size * 4 * values


@pytest.mark.parametrize(("dtype", "score_bytes"), [(Dtype.bfloat16, 10), (Dtype.float32, 8)])
def test_eager_attention_is_predicted_to_hold_all_scores_of_a_layer(dtype, score_bytes):
    """As was seen of an 8B shape in bf16 on an H100: 39.6 GB allocated, and 18.2 GB with sdpa, which holds none. Its 32
    heads of 8,192 x 8,192 scores are 2.15e9, of 10 bytes each. float32 needs no copy for its softmax."""
    shape = facts.model_shape(tiny_llama().config)
    fused, eager = (benchmark_config(attention=name, dtype=dtype) for name in ("sdpa", "eager"))
    tokens = eager.workload.prompt_tokens
    scores = eager.batch_size * tiny_llama().config.num_attention_heads * tokens * tokens
    found = memory.predict_bytes(eager, shape, CPU) - memory.predict_bytes(fused, shape, CPU)
    assert found == score_bytes * scores


def test_ceilings_are_measured_on_whatever_device_there_is():
    found = ceilings.measure_ceilings(CPU)
    assert found["copy_bandwidth_gb_s"] > 0 and found["matmul_tflop_s"] > 0
    assert found["datasheet_bandwidth_gb_s"] is None
    assert ceilings.datasheet("NVIDIA H100 80GB HBM3") == (3350, 989)
    assert ceilings.datasheet("NVIDIA H200") == (4800, 989)


def test_without_a_driver_there_is_no_gpu_and_no_error():
    assert nvml.Gpus.open(["GPU-00000000-0000-0000-0000-000000000000"]) is None


PYNVML = nvml.pynvml


class TwoCards:
    """NVML of a host with two GPUs, simulated: this machine has no driver. Handles are their UUIDs."""

    NVMLError = PYNVML.NVMLError
    joules = {"GPU-b": 5_000, "GPU-a": 7_500}  # in mJ
    processes = {
        "GPU-b": [SimpleNamespace(pid=os.getpid(), usedGpuMemory=300)],
        "GPU-a": [
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=50),
            SimpleNamespace(pid=1, usedGpuMemory=1_000),
        ],
    }

    def __getattr__(self, name):
        """Whatever else is asked: this driver answers nothing."""

        def unanswered(*_):
            raise self.NVMLError(PYNVML.NVML_ERROR_NOT_SUPPORTED)

        return getattr(PYNVML, name) if name.isupper() else unanswered

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return uuid

    def nvmlDeviceGetUUID(self, handle):
        return handle

    def nvmlDeviceGetName(self, handle):
        return "NVIDIA H100 80GB HBM3"

    def nvmlSystemGetDriverVersion(self):
        return "590.44"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return self.joules[handle]

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return self.processes[handle]

    def nvmlDeviceGetViolationStatus(self, handle, policy):
        held = handle == "GPU-a" and policy == PYNVML.NVML_PERF_POLICY_POWER
        return SimpleNamespace(violationTime=2e9 if held else 0)  # ns


def test_a_model_on_two_gpus_has_the_energy_memory_and_company_of_both(monkeypatch):
    monkeypatch.setattr(nvml, "pynvml", TwoCards())
    gpus = nvml.Gpus.open(["GPU-b", "GPU-a"])
    assert gpus.identity()["device_uuid"] == "GPU-a+GPU-b"
    assert gpus.energy_j() == pytest.approx(12.5)
    assert gpus.process_bytes() == 350
    state = gpus.snapshot()
    assert state.foreign_processes == 1
    # 2 of 10 s on one of two: 10% of the time of both. None of it by heat.
    assert state.throttle_s == {"thermal": 0, "power_brake": 0, "power_cap": 1.0}


def test_a_model_on_two_gpus_has_the_memory_of_both_and_a_context_on_each(monkeypatch):
    """torch's view of two GPUs of 80 and 70 GiB, simulated."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    sizes = [80 * 2**30, 70 * 2**30]
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda gpu: SimpleNamespace(total_memory=sizes[gpu.index])
    )
    gpu = torch.device("cuda", 0)
    assert memory.device_bytes(gpu) == 150 * 2**30
    shape = facts.model_shape(tiny_llama().config)
    one, two = benchmark_config(), benchmark_config()
    two.model.gpus = 2
    assert memory.predict_bytes(two, shape, gpu) - memory.predict_bytes(one, shape, gpu) == 600 * 2**20


def test_of_memory_that_ran_out_it_is_said_what_was_asked_for_and_what_was_there():
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 7.00 GiB. GPU 0 has a total capacity of 79.18 GiB of which 3.36 GiB is"
        " free. Including non-PyTorch memory, this process has 75.81 GiB memory in use."
    )
    assert worker.classify(error, "compile") == (
        "oom",
        "out of memory during compile: CUDA out of memory. Tried to allocate 7.00 GiB. GPU 0 has a total capacity of"
        " 79.18 GiB of which 3.36 GiB is free.",
    )
    status, reason = worker.classify(ValueError("x" * 2000), "load")
    assert (status, len(reason), reason[-5:]) == ("failed", len("ValueError during load: ") + 600, "x ...")
    assert worker.classify(RuntimeError("x" * 2000 + " can't allocate memory"), "load")[0] == "oom"


def snapshot(thermal=0.0, brake=0.0, cap=0.0, foreign=0):
    """The driver's counters, simulated: this machine has no driver."""
    held = {"thermal": thermal, "power_brake": brake, "power_cap": cap}
    return nvml.Snapshot(throttle_s=held, foreign_processes=foreign)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (snapshot(), snapshot(), []),
        (snapshot(thermal=5.0), snapshot(thermal=5.0), []),  # what happened before the measurement
        (snapshot(), snapshot(thermal=0.001), ["throttled"]),
        (snapshot(), snapshot(brake=0.2), ["throttled"]),
        (snapshot(), snapshot(cap=2.0), ["power_capped"]),
        (snapshot(), snapshot(cap=0.05), []),  # half a percent of ten seconds
        (snapshot(foreign=1), snapshot(), ["contended"]),
        (snapshot(), snapshot(foreign=1), ["contended"]),
    ],
)
def test_flags_come_from_what_changed_while_measuring(before, after, expected):
    assert nvml.validity_flags(before, after, seconds=10.0) == expected


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (benchmark_config(attention="flash_attention_2", dtype=Dtype.bfloat16), "runs on CUDA GPUs only"),
        (benchmark_config("cuda_graph"), "a CUDA graph needs a CUDA GPU"),
    ],
)
def test_what_a_cpu_cannot_run_is_said_before_loading(config, reason):
    assert reason in reasons.unsupported_reason(config, CPU)


def test_what_a_gpu_cannot_run_is_said_before_loading():
    gpu = torch.device("cuda")
    int8 = PrecisionConfig("int8", Dtype.float16, "bitsandbytes", {"quantisation": "int8"})
    outliers = benchmark_config("cuda_graph", precision=int8)
    assert "outlier path of LLM.int8" in reasons.unsupported_reason(outliers, gpu)
    outliers.precision.options["outlier_threshold"] = 0.0
    assert reasons.unsupported_reason(outliers, gpu) is None
    flash = benchmark_config(attention="flash_attention_2")
    assert "flash_attn, which is not installed" in reasons.unsupported_reason(flash, gpu)


def test_the_plain_cell_is_supported_everywhere():
    assert reasons.unsupported_reason(benchmark_config(), CPU) is None


def test_what_python_compiled_is_kept_where_the_environment_forbids_it(tmp_path, monkeypatch):
    (tmp_path / "imported_once.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    config = benchmark_config("loop")
    config.cache_dir = str(tmp_path / "cache")
    worker.keep_bytecode(config)
    importlib.import_module("imported_once")
    assert list((tmp_path / "cache" / os.uname().nodename / "bytecode").rglob("imported_once*.pyc"))
