"""What a cell means: the structured configs that Hydra fills from `config/hydra/`.

One dataclass per concern; Hydra checks types and rejects unknown keys. Values that types cannot
express are checked in `__post_init__`, so that bad input is one sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING


class ConfigError(ValueError):
    """A configuration that cannot be run. The message says what is wrong, where, and what to do."""


class Fault(RuntimeError):
    """Files or the machine are not in order, so there is no result. The message says what is wrong, and where."""


class Source(Enum):
    bundled = "bundled"
    checkpoint = "checkpoint"
    synthetic = "synthetic"


class Dtype(Enum):
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return int(self.value[-2:]) // 8


class Lengths(Enum):
    equal = "equal"
    unequal = "unequal"


class Device(Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@dataclass
class ModelConfig:
    """Where weights come from. `path` is a folder with a checkpoint, made or fetched beforehand."""

    name: str = MISSING
    source: Source = MISSING
    path: str = MISSING
    hub_id: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    #: keyword arguments of the transformers config, `model_type` among them (source: synthetic)
    architecture: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    gpus: int = 1


@dataclass
class PrecisionConfig:
    """Dtype of the computation, and how the weights are held."""

    name: str = MISSING
    dtype: Dtype = MISSING
    #: of weight formats: a module of inferbench.precision
    library: str = MISSING
    #: the library says which there are, and of what type
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class AttentionConfig:
    """`implementation` is the name that transformers gives the backend, or that `code` registers it under."""

    name: str = MISSING
    implementation: str = MISSING
    #: module that must be installed, beside torch and transformers
    package: str | None = None
    gpu_only: bool = False
    #: computes in 16 bit alone
    half_only: bool = False
    #: regular expression of an operator or kernel that a profile shows when this backend ran; without one it is
    #: torch's scaled_dot_product_attention or transformers' eager attention
    shown_as: str | None = None
    #: Python file that registers it with transformers' AttentionInterface
    code: str | None = None


@dataclass
class ExecutionConfig:
    """What runs the model. The `module` of `inferbench/engines/` says which options it takes."""

    name: str = MISSING
    module: str = MISSING
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class WorkloadConfig:
    """Prompts and lengths, in tokens per sequence."""

    name: str = MISSING
    prompt_tokens: int = MISSING
    new_tokens: int = MISSING
    lengths: Lengths = Lengths.equal
    prompts: str = MISSING


@dataclass
class MeasureConfig:
    """When to start and when to stop timing."""

    warmup_min_iterations: int = 2
    warmup_max_iterations: int = 10
    #: warm-up ends when the medians of its halves differ by less than this share
    steady_tolerance: float = 0.02
    min_iterations: int = 3
    max_iterations: int = 30
    min_seconds: float = 1.0
    max_seconds: float = 60.0
    #: stop early once the 95% interval of the iterations' mean is this share of it
    target_relative_interval: float = 0.02
    #: repeated decoding for the energy counter, in seconds; GPU only
    energy_seconds: float = 5.0

    def __post_init__(self) -> None:
        for name in ("warmup_{}_iterations", "{}_iterations", "{}_seconds"):
            least, most = (getattr(self, name.format(end)) for end in ("min", "max"))
            if least > most:
                raise ConfigError(
                    f"measure.{name.format('max')} is {most}: give at least measure.{name.format('min')}, {least}."
                )


@dataclass
class RunConfig:
    """What every measuring process is told: a model as it is run, and who asked."""

    model: ModelConfig = field(default_factory=ModelConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    device: Device = Device.auto
    #: type of GPU that must run this, as the scheduler names it; null: any device
    gpu_model: str | None = None
    #: threads of the computation on a CPU
    cpu_threads: int = 2
    seed: int = 0
    timeout_s: float = 1800.0
    models_dir: str = "models"
    cache_dir: str = MISSING
    # Who asked, and where the rows go.
    campaign: str = "by-hand"
    cell: str = "by-hand"
    replicate: int = 1
    #: what the workflow expects the cell to mean; empty: whatever the files say now
    fingerprint: str = ""
    output: str = MISSING

    def __post_init__(self) -> None:
        for name, least in {"cpu_threads": 1, "replicate": 1, "timeout_s": 1}.items():
            at_least(name, getattr(self, name), least)
        at_least("model.gpus", self.model.gpus, 1)


@dataclass
class BenchmarkConfig(RunConfig):
    """One cell, one replicate."""

    workload: WorkloadConfig = field(default_factory=WorkloadConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    batch_size: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("batch_size", self.batch_size, 1)
        at_least("workload.prompt_tokens", self.workload.prompt_tokens, 1)
        at_least("workload.new_tokens", self.workload.new_tokens, 2)


def at_least(name: str, value: float, least: float) -> None:
    """Raise ConfigError where a number is too small."""
    # Unset values are reported by Hydra itself, with the key's name.
    if isinstance(value, (int, float)) and value < least:
        raise ConfigError(f"{name} is {value}: give a number of at least {least}.")


@dataclass
class PrepareConfig:
    """One model to make or fetch."""

    model: ModelConfig = field(default_factory=ModelConfig)
    models_dir: str = "models"
