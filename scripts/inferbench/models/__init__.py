"""Checkpoints made, fetched, loaded and counted; prompts."""
