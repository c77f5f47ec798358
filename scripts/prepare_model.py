"""Make or fetch the checkpoint of one model: python scripts/prepare_model.py model=<name>

Bundled and synthetic models are made here; a checkpoint is fetched from its hub, which needs network.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import hydra
from omegaconf import DictConfig

from inferbench import config as configs
from inferbench.prepare import ModelError, prepare

configs.register()


@hydra.main(version_base="1.3", config_path="../config/hydra", config_name="prepare_model")
def main(config: DictConfig) -> None:
    try:
        resolved = configs.resolve(config)
        manifest = configs.in_repository(resolved.models_dir) / f"{resolved.model.name}.json"
        record = prepare(resolved.model, manifest)
    except (configs.ConfigError, ModelError) as error:
        sys.exit(str(error))
    print(f"{record['model']}: {sum(record['files'].values()):,} bytes in {resolved.model.path}")


if __name__ == "__main__":
    main()
