"""Joules per token from an energy counter: simulated, because this machine has no driver."""

import time

import pytest

from inferbench.measure import energy
from inferbench.settings.job import MeasureConfig
from tiny_models import benchmark_config, engine_with, tiny_llama, unequal_batch

WATTS = 100.0


class SteadyGpu:
    """A driver whose GPU takes the same power whatever it does."""

    def energy_j(self):
        return WATTS * time.perf_counter()


class NoCounter:
    def energy_j(self):
        return None


class Untouchable:
    """An engine that must not be run. Its steps, if it has any, neither."""

    def __init__(self, stepper=None):
        self.stepper = stepper


@pytest.fixture(autouse=True)
def no_settling(monkeypatch):
    monkeypatch.setattr(energy, "SETTLE_S", 0.0)
    monkeypatch.setattr(energy, "IDLE_S", 0.01)


def measured(engine, timed, gpu=None, seconds=0.2):
    config = benchmark_config(batch_size=3, measure=MeasureConfig(energy_seconds=seconds))
    return energy.measure_energy(engine, unequal_batch(), config, gpu or SteadyGpu(), timed)


def test_decoding_is_repeated_and_each_sequences_tokens_count():
    engine, steps = engine_with("loop", tiny_llama(), unequal_batch()), []
    step = engine.stepper.step
    engine.stepper.step = lambda token: steps.append(token) or step(token)
    found = measured(engine, energy.Spent(7.0, 7.0, 7))
    assert found["power_w"] == pytest.approx(WATTS, rel=1e-3)
    assert found["idle_power_w"] == pytest.approx(WATTS, rel=1e-2)
    seconds = found["joules_per_token"] * 3 * len(steps) / WATTS
    assert 0.2 <= seconds < 10  # it took the time it was told to, and not what the timed runs took
    assert abs(found["joules_per_token_above_idle"]) < 0.01 * found["joules_per_token"]


def test_timed_runs_of_generate_are_not_repeated_where_they_were_long_enough():
    # 1200 J in 8 s, of which the idle GPU would have taken 800.
    found = measured(Untouchable(), energy.Spent(1200.0, 8.0, 256))
    assert found["power_w"] == 150
    assert found["joules_per_token"] == 1200 / 256
    assert found["joules_per_token_above_idle"] == pytest.approx(400 / 256, rel=1e-2)


def test_short_timed_runs_of_generate_are_not_enough():
    found = measured(engine_with("generate", tiny_llama(), unequal_batch()), energy.Spent(9e9, 0.1, 1))
    assert found["power_w"] == pytest.approx(WATTS, rel=1e-3)


def test_a_gpu_without_a_counter_has_no_energy():
    meter = energy.Meter(NoCounter())
    assert measured(Untouchable(object()), meter.spent(5), NoCounter()) == {}
    assert energy.Meter(None).spent(5).joules is None
