"""Measure language-model inference, one cell at a time. Nothing in here knows Snakemake."""
