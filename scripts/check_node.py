"""Check, in seconds, that cells can run on this node: driver, CUDA, GPU type, checkpoints, room on the disk.

python scripts/check_node.py --models smollm2-135m --results results/demo --output checked.json
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from hydra import compose, initialize_config_dir

from inferbench.device.node import disk_complaint, gpu_complaint, look_around, summary
from inferbench.models.checkpoint import ModelError, require_checkpoint
from inferbench.plan.cells import hydra_quoted
from inferbench.run.compose import register, resolve
from inferbench.settings import job as configs
from inferbench.settings.repository import HYDRA_DIR

#: Room for some ten thousand cell files and logs.
ROOM_BYTES = 1_000_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", required=True, help="names of the models' Hydra files")
    parser.add_argument("--models-dir", default="models", help="folder of the checkpoints")
    parser.add_argument("--gpu-model", help="type of GPU that the node must have")
    parser.add_argument("--results", required=True, type=Path, help="where the results go")
    parser.add_argument("--output", required=True, type=Path, help="what was found, written if all is well")
    options = parser.parse_args()
    node = look_around()
    complaint = gpu_complaint(node, options.gpu_model)
    complaint = complaint or disk_complaint(options.results, ROOM_BYTES)
    if complaint:
        sys.exit(complaint)
    try:
        for name in options.models:
            require_checkpoint(model_config(name, options.models_dir))
    except ModelError as error:
        sys.exit(f"on node {node.host}, {error}")
    print(summary(node, options.models))
    options.output.write_text(json.dumps(asdict(node), indent=1))


def model_config(name: str, models_dir: str) -> configs.ModelConfig:
    register()
    with initialize_config_dir(str(HYDRA_DIR), version_base="1.3"):
        composed = compose(
            "prepare_model", overrides=[f"model={name}", f"models_dir={hydra_quoted(models_dir)}"]
        )
    return resolve(composed).model


if __name__ == "__main__":
    main()
