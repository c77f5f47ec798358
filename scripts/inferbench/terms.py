"""Flags of a measurement, for tables and for what measures: the standard library alone, because an environment to
measure in has no pandas."""

from __future__ import annotations

#: A number that carries one of these stands in the tables but is drawn hollow and never ranked.
INVALIDATING_FLAGS = ("throttled", "contended", "unstable")
NOTES = ("power_capped", "beyond_context")
