"""From a campaign file to cells, their meaning, fingerprints and order. No torch, no Hydra."""
