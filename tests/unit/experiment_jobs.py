"""Jobs of decoding experiments over the tiny model, and made-up tables of experiments."""

import io
import json
import time

import pandas as pd
from omegaconf import OmegaConf

from inferbench.analysis.experiment_tables import table_schema
from inferbench.measure.stages import Stages
from inferbench.run.parts import part
from inferbench.settings.experiment import ExperimentConfig
from inferbench.settings.job import Dtype, ModelConfig, PrecisionConfig, Source
from inferbench.tables.schema import validate
from tiny_models import CPU, attention_config, execution, tiny_llama


def experiment_config(
    settings, path="models/tiny", attention="sdpa", dtype=Dtype.float32
) -> ExperimentConfig:
    """An experiment of these settings, on the model in the folder `path`."""
    return ExperimentConfig(
        model=ModelConfig(name="tiny", source=Source.synthetic, path=str(path)),
        precision=PrecisionConfig(name=dtype.value, dtype=dtype, library="plain"),
        attention=attention_config(attention),
        execution=execution("loop"),
        experiment=settings,
    )


def measured(module, settings, folder, **changes):
    """(resolved config, record, samples) of an experiment's `measure` over the tiny model, saved in `folder`."""
    tiny_llama().save_pretrained(folder)
    config = experiment_config(settings, folder, **changes)
    record = {}
    module.measure(config, CPU, Stages(io.StringIO(), time.time()), record)
    samples = record.pop("samples")
    plain = OmegaConf.to_container(OmegaConf.structured(settings), enum_to_str=True)
    # As the file keeps them.
    return {"experiment": plain}, json.loads(json.dumps(record)), json.loads(json.dumps(samples))


def experiment_table(experiment, rows):
    """The rows of a made-up experiment as its table, in order; each row's own keys go before these."""
    common = {
        "campaign": "demo",
        "experiment": experiment,
        "cell": "cell",
        "model": "smollm2-135m",
        "model_source": "bundled",
        "precision": "bf16",
        "attention": "sdpa",
        "replicate": 1,
        "status": "ok",
    }
    return validate(
        pd.DataFrame([{**common, **row} for row in rows]), table_schema(part(experiment, "table"))
    )
