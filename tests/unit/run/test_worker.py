"""What the measuring process is told before torch begins."""

import shlex
from pathlib import Path

import pytest

from inferbench.run.worker import environment
from tiny_models import benchmark_config


@pytest.mark.parametrize("folder", ["my models", "it's mine"])
def test_kernel_caches_lie_where_the_compilers_commands_find_them(tmp_path, monkeypatch, folder):
    """torch hands the path to g++ unquoted."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asked = benchmark_config(cache_dir=f"/models/{folder}/.cache")
    other = benchmark_config(cache_dir="/models/another one/.cache")
    caches = [environment(config)["TORCHINDUCTOR_CACHE_DIR"] for config in (asked, asked, other)]
    assert all(shlex.quote(cache) == cache for cache in caches)
    assert caches[0] == caches[1] != caches[2]  # for later processes, and no one else's


def test_they_lie_in_the_cache_folder_where_that_can_be():
    cache = Path(environment(benchmark_config(cache_dir="/models/.cache"))["TORCHINDUCTOR_CACHE_DIR"])
    assert cache.is_relative_to("/models/.cache")
