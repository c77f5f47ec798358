"""GPUs as the driver sees them: leases, counters, ceilings, profiles, the check of a node."""
