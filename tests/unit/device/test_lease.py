"""Devices are lent to one cell at a time."""

import os
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

from inferbench.device.lease import LeaseError, leased_devices, visible_gpus


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch):
    """Locks of this test alone, on a machine with the GPUs A, B and C and no scheduler."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "A,B, C")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def lent(environment):
    return environment["CUDA_VISIBLE_DEVICES"].split(",")


def test_cells_at_the_same_time_have_different_gpus():
    with leased_devices("cuda", 1) as one, leased_devices("cuda", 2) as two:
        assert sorted(lent(one) + lent(two)) == ["A", "B", "C"]


def test_a_gpu_given_back_is_lent_again():
    for _ in range(4):
        with leased_devices("auto", 3) as environment:
            assert lent(environment) == ["A", "B", "C"]


def waits(device, gpus):
    """A thread that takes a lease, and the list in which it says so."""
    got = []

    def take():
        with leased_devices(device, gpus) as environment:
            got.append(environment["CUDA_VISIBLE_DEVICES"])

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(timeout=0.3)
    return thread, got


def test_a_cell_waits_for_its_gpus():
    with leased_devices("cuda", 2):
        thread, got = waits("cuda", 2)
        assert got == []
    thread.join()
    assert len(got) == 1


@pytest.mark.parametrize("device, visible", [("cpu", "A,B"), ("auto", ""), ("cuda", "")])
def test_one_cell_at_a_time_has_the_processor_and_sees_no_gpu(monkeypatch, device, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with leased_devices(device, 1) as environment:
        assert environment == {"CUDA_VISIBLE_DEVICES": ""}
        thread, got = waits(device, 1)
        assert got == []
    thread.join()
    assert got == [""]


def test_the_processor_and_a_gpu_do_not_wait_for_each_other():
    with leased_devices("cpu", 1), leased_devices("cuda", 3) as environment:
        assert lent(environment) == ["A", "B", "C"]


def test_a_killed_job_gives_its_gpus_back():
    holder = (
        "from inferbench.device.lease import leased_devices\nimport signal\n"
        "with leased_devices('cuda', 3):\n    print('held', flush=True)\n    signal.pause()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == "held\n"
    thread, got = waits("cuda", 3)
    assert got == []
    process.send_signal(signal.SIGKILL)
    process.communicate()
    thread.join()
    assert got == ["A,B,C"]


def test_a_model_of_more_gpus_than_there_are():
    with pytest.raises(LeaseError, match="asks for 4 GPUs, and 3 are visible"), leased_devices("cuda", 4):
        pass


def test_in_a_slurm_job_the_scheduler_has_already_chosen(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with leased_devices("cuda", 2) as one, leased_devices("cuda", 2) as two:
        assert lent(one) == lent(two) == ["A", "B"]


@pytest.mark.parametrize("chosen, gpus", [("", []), ("0", ["0"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"])])
def test_the_environment_says_which_gpus_are_visible(monkeypatch, chosen, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_gpus() == gpus
