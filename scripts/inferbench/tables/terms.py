"""Terms that tables and measuring code share: statuses, axes, flags, metrics. Standard library alone, so that what
measures need not import pandas."""

from __future__ import annotations

STATUSES = ("ok", "oom", "unsupported", "timeout", "failed", "skipped", "missing")
AXES = ("model", "precision", "attention", "execution", "workload", "batch_size")
#: Executions whose decode step is one captured graph.
CAPTURED = ("cuda_graph", "compiled")
#: A number that carries one of these stands in the tables but is drawn hollow and never ranked: its cause is outside
#: the process and does not depend on what was measured.
INVALIDATING_FLAGS = ("throttled", "contended")
#: Shown and counted. What looks unsteady is among them: to leave it out would choose by the outcome.
NOTES = ("power_capped", "beyond_context", "unstable")
#: Metrics that are summarised across replicates, and the direction in which each is better.
METRICS = {
    "decode_tokens_per_s": "higher",
    "prefill_tokens_per_s": "higher",
    "ttft_ms": "lower",
    "tpot_ms": "lower",
    "itl_p99_ms": "lower",
    "joules_per_token": "lower",
    "decode_mbu": "higher",
    "prefill_mfu": "higher",
    "gpu_busy_fraction": "higher",
}
#: Sizes do not vary between processes beyond allocator noise: the largest one seen is the figure.
SIZES = (
    "weight_bytes",
    "kv_cache_bytes",
    "peak_allocated_bytes",
    "peak_reserved_bytes",
    "process_gpu_bytes",
    "peak_rss_bytes",
    "predicted_bytes",
)
