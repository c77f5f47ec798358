"""What tests of several storeys share."""

from pathlib import Path

import pytest

from inferbench.models.prepare import prepare
from inferbench.settings.job import ModelConfig, Source
from inferbench.settings.repository import REPOSITORY


@pytest.fixture(scope="session")
def folder(made_once) -> Path:
    """The converted model: the checkout's, or one made for this run."""
    made = REPOSITORY / "models" / "smollm2-135m"
    if (made / "model.safetensors").exists():
        return made
    model = "smollm2-135m"

    def convert(models):
        prepare(ModelConfig(model, Source.bundled, str(models / model)), models / f"{model}.json")

    return made_once("models", convert) / model
