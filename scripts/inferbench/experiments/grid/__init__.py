"""The grid of a campaign: one cell per point."""
