"""Attention backends beyond transformers' own."""
