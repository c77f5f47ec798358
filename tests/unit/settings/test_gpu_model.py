"""Scheduler names of GPU types against the names that drivers give the devices."""

import pytest

from inferbench.settings.gpu_model import asked_gpu_model, is_gpu_model

CELL = {
    "model": "m",
    "precision": "nf4",
    "attention": "sdpa",
    "execution": "loop",
    "workload": "w",
    "batch_size": 4,
}

IS_ONE = {
    "h100": "NVIDIA H100 80GB HBM3",
    "nvidia_h100_80gb_hbm3": "NVIDIA H100 80GB HBM3",
    "a100_80gb": "NVIDIA A100-SXM4-80GB",
    "rtx4090": "NVIDIA GeForce RTX 4090",
    "V100": "Tesla V100-SXM2-32GB",
    "gh200": "NVIDIA GH200 480GB",
}
IS_NONE = {
    "a10": "NVIDIA A100-SXM4-40GB",
    "a100_80gb": "NVIDIA A100-SXM4-40GB",
    "h100": "NVIDIA GH200 480GB",
    "l40": "NVIDIA L40S",
    "h200": "NVIDIA H100 80GB HBM3",
}


@pytest.mark.parametrize("asked, device", IS_ONE.items())
def test_a_device_of_the_type(asked, device):
    assert is_gpu_model(asked, device)


@pytest.mark.parametrize("asked, device", IS_NONE.items())
def test_a_device_of_another_type(asked, device):
    assert not is_gpu_model(asked, device)


def test_the_first_pattern_that_matches_says_which_type():
    patterns = [
        {"precision": ["int8", "nf4"], "batch_size": 8, "gpu_model": "a100"},
        {"precision": "nf4", "gpu_model": "l40"},
        {"gpu_model": "h100"},
    ]
    assert asked_gpu_model({"gpu_model": patterns}, CELL) == "l40"
    assert asked_gpu_model({"gpu_model": patterns}, CELL | {"batch_size": 8}) == "a100"
    assert asked_gpu_model({"gpu_model": patterns}, CELL | {"precision": "bf16"}) == "h100"
    assert asked_gpu_model({"gpu_model": patterns[:1]}, CELL) is None
    # An experiment's cell has no batch size: a pattern that asks for one is not for it.
    axes = {"model": "m", "precision": "nf4", "attention": "sdpa"}
    assert asked_gpu_model({"gpu_model": patterns}, axes) == "l40"
    assert asked_gpu_model({"gpu_model": "h100"}, axes) == "h100"
    assert asked_gpu_model({"gpu_model": None}, axes) is None
