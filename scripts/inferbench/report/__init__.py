"""The report's page: the order of its sections, and its sentences."""
