"""A checkpoint's own generation config: which tokens end a sequence, and all else, which must change no measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from inferbench.plan.context_length import checkpoint_config

#: Settings that say nothing of how tokens are chosen.
NO_CHOICE = ("bos_token_id", "pad_token_id", "eos_token_id", "decoder_start_token_id", "transformers_version")
#: Letters of a setting that are worth naming: some are lists of a thousand tokens.
MOST_LETTERS = 60


def neutral(folder: Path) -> GenerationConfig:
    """What is left of the generation config of the checkpoint in `folder`: the tokens that end a sequence."""
    return GenerationConfig(eos_token_id=_own(folder).get("eos_token_id"))


def neutralised(folder: Path) -> str:
    """What it asks for and `neutral` leaves out, as `setting=value`, comma-separated: whatever would sample, penalise,
    force, stop, or change cache, beams or candidates."""
    usual = GenerationConfig._get_default_generation_params()
    return ", ".join(
        f"{name}={value}"[:MOST_LETTERS]
        for name, value in sorted(_own(folder).items())
        if name not in NO_CHOICE and not name.startswith("_") and value not in (None, usual.get(name, False))
    )


def _own(folder: Path) -> dict[str, Any]:
    """Its settings; of a checkpoint from before there were such files, those in its config.json."""
    file = folder / "generation_config.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    known = vars(GenerationConfig())
    return {name: value for name, value in checkpoint_config(folder).items() if name in known}
