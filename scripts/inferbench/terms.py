"""Flags of a measurement, for tables and for what measures: the standard library alone, because an environment to
measure in has no pandas."""

from __future__ import annotations

#: A number that carries one of these stands in the tables but is drawn hollow and never ranked: its cause is outside
#: the process and does not depend on what was measured.
INVALIDATING_FLAGS = ("throttled", "contended")
#: Shown and counted. What looks unsteady is among them: to leave it out would choose by the outcome.
NOTES = ("power_capped", "beyond_context", "unstable")
