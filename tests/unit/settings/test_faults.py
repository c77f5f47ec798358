"""What a job dies of is a result or a fault of files and of the machine."""

import errno
import os

import pynvml
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file

from inferbench.run.worker import classify
from inferbench.settings.faults import is_fault


def system(number):
    return OSError(number, os.strerror(number), "/models/own/model.safetensors")


FAULTS = [
    FileNotFoundError(errno.ENOENT, "No such file or directory", "model-00002-of-00002.safetensors"),
    PermissionError(errno.EACCES, "Permission denied", "config.json"),
    system(errno.ENOSPC),
    system(errno.EIO),
    OSError("Error no file named model.safetensors found in directory /models/own."),
    LocalEntryNotFoundError("a class of its own, which is a FileNotFoundError"),
    SafetensorError("Error while deserializing header: incomplete metadata, file not fully covered"),
    pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST),
    RuntimeError("backend='inductor' raised: OSError: [Errno 28] No space left on device: '/models/.cache'"),
    torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
    torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
    RuntimeError("No CUDA GPUs are available"),
]
RESULTS = {
    "failed": [
        ValueError("the model has no such attention"),
        AttributeError("'GPT2Config' object has no attribute 'intermediate_size'"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        torch.AcceleratorError("CUDA error: unspecified launch failure"),
        ModuleNotFoundError("No module named 'flash_attn'"),
    ],
    "oom": [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory"),
        MemoryError(),
        system(errno.ENOMEM),
    ],
}


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_faults_are_no_results(error):
    status, reason = classify(error, "load")
    assert status == "failed" and is_fault(reason)


@pytest.mark.parametrize(
    "status, error", [(status, error) for status in RESULTS for error in RESULTS[status]], ids=str
)
def test_what_a_cell_dies_of_is_its_result(status, error):
    found, reason = classify(error, "measure")
    assert found == status and not (status == "failed" and is_fault(reason))


def test_a_real_truncated_file_is_a_fault(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((40).to_bytes(8, "little") + b'{"a":{"dtype":"F32"')
    with pytest.raises(SafetensorError) as caught:
        load_file(path)
    assert is_fault(classify(caught.value, "load")[1])


@pytest.mark.parametrize("name, fault", [("SIGKILL", True), ("SIGBUS", True), ("SIGSEGV", False)])
def test_a_signal_from_outside_is_a_fault_and_a_crash_is_none(name, fault):
    assert is_fault(f"killed by {name} during measure") is fault
