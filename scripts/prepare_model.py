"""Make or fetch the checkpoint of one model: python scripts/prepare_model.py model=<name>

Bundled and synthetic models are made here; a checkpoint is fetched from its hub, which needs network.
"""

from __future__ import annotations

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from inferbench.models.checkpoint import ModelError
from inferbench.models.prepare import prepare
from inferbench.plan.fingerprint import manifest_name
from inferbench.run.compose import register, resolve
from inferbench.settings import job as configs
from inferbench.settings.repository import in_repository

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


register()


@hydra.main(version_base="1.3", config_path="../config/hydra", config_name="prepare_model")
def main(config: DictConfig) -> None:
    try:
        resolved = resolve(config)
        folder = in_repository(resolved.models_dir)
        chosen = HydraConfig.get().runtime.choices["model"]
        record = prepare(resolved.model, folder / manifest_name(chosen, resolved.models_dir))
    except (configs.ConfigError, ModelError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(
            f"model {resolved.model.name} cannot be written to {resolved.model.path}: {error.strerror or error}"
        )
    print(f"{record['model']}: {sum(record['files'].values()):,} bytes in {resolved.model.path}")


if __name__ == "__main__":
    main()
