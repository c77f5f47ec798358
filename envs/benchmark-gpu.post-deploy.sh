#!/usr/bin/env bash
# flash-attn for the torch that benchmark-gpu has pinned, compiled where no wheel fits (the YAML has nvcc for it).
# `snakemake --sdm conda` runs this when it makes the environment; elsewhere run it in the activated one.
set -euo pipefail
MAX_JOBS="${MAX_JOBS:-4}" pip install --no-build-isolation einops==0.8.2 flash-attn==2.8.3.post2
