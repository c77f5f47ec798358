"""The sentences of a node's check: what is wrong, where, and what to do."""

from dataclasses import replace

import pytest

from inferbench.device.node import Node, disk_complaint, gpu_complaint

#: An H100 whose driver is of CUDA 13.1, with a torch for CUDA 13.0.
GOOD = Node(
    host="gpu7",
    driver="590.44",
    driver_cuda=(13, 1),
    torch="2.11.0",
    torch_cuda=(13, 0),
    devices=("NVIDIA H100 80GB HBM3",),
    architectures=("75", "80", "86", "90", "100"),
    capabilities=("90",),
)


def test_a_good_node():
    assert gpu_complaint(GOOD, None) is None
    assert gpu_complaint(GOOD, "h100") is None


FINE = {
    "older driver of the same major version": {
        "driver": "580.65",
        "driver_cuda": (13, 0),
        "torch_cuda": (13, 1),
    },
    "newer driver": {"driver_cuda": (14, 0)},
    "newer minor capability than built for": {"capabilities": ("89",), "devices": ("NVIDIA L40S",)},
}


@pytest.mark.parametrize("difference", FINE.values(), ids=FINE)
def test_what_works_all_the_same(difference):
    assert gpu_complaint(replace(GOOD, **difference), None) is None


WRONG = {
    "no driver": (
        {"driver": None, "driver_cuda": None, "devices": ()},
        None,
        "node gpu7 has no NVIDIA driver: ask for",
    ),
    "torch without CUDA": (
        {"torch_cuda": None, "devices": ()},
        None,
        "torch 2.11.0 on node gpu7 is built without CUDA",
    ),
    "old driver": (
        {"driver": "535.54", "driver_cuda": (12, 2), "devices": ()},
        None,
        "driver 535.54 of node gpu7 supports CUDA 12.2 and torch 2.11.0 is built for CUDA 13.0: have the driver",
    ),
    "no GPU given": (
        {"devices": (), "capabilities": ()},
        None,
        "shows torch 2.11.0 no GPU, CUDA_VISIBLE_DEVICES is",
    ),
    "no kernels": (
        {"devices": ("Tesla V100-SXM2-32GB",), "capabilities": ("70",)},
        None,
        "no kernels for Tesla V100-SXM2-32GB (compute capability 70), only for 75, 80, 86, 90, 100",
    ),
    "another type": ({}, "a100", "gpu_model a100 asked for, but node gpu7 has NVIDIA H100 80GB HBM3"),
}


@pytest.mark.parametrize("difference, asked, sentence", WRONG.values(), ids=WRONG)
def test_what_does_not(difference, asked, sentence):
    assert sentence in gpu_complaint(replace(GOOD, **difference), asked)


def test_free_disk(tmp_path):
    assert disk_complaint(tmp_path, 1) is None
    # No disk has an exabyte.
    assert f"{tmp_path} has " in disk_complaint(tmp_path, 10**18)
    assert "MB free and needs 1,000,000,000,000 MB: make room first" in disk_complaint(tmp_path, 10**18)
