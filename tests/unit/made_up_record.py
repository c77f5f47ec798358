"""The record, provenance and iterations of a made-up cell, in numbers that are easy to reckon with."""

SHAPE = {
    "layers": 2,
    "heads": 3,
    "head_dim": 4,
    "layer_weights": 100,
    "expert_weights": 40,
    "active_experts": 0.25,
    "embedding_weights": 60,
    "head_weights": 50,
}
RECORD = {
    "status": "ok",
    "flags": [],
    "prompt_tokens": 10,
    "prompt_tokens_mean": 10.0,
    "new_tokens": 4,
    "decode_weight_bytes": 1000,
    "kv_bytes_per_token": 8,
    "copy_bandwidth_gb_s": 0.001,  # 1e6 bytes/s
    "matmul_tflop_s": 1e-5,  # 1e7 FLOP/s
    "shape": SHAPE,
    "stages_s": {"startup": 1.5, "load": 2.0, "measure": 0.5},
    "sample_text": "so it goes",
}
ITERATIONS = [
    {"ttft_ms": 4.0, "itl_ms": [2.0, 2.0, 2.0], "new_tokens": 4},
    {"ttft_ms": 9.0, "itl_ms": [1.0, 2.0, 3.0], "new_tokens": 4},
    {"ttft_ms": 5.0, "itl_ms": [4.0, 4.0, 4.0], "new_tokens": 4},
]
PROVENANCE = {
    "fingerprint": "f",
    "code": "c",
    "started_at": "2026-01-05T23:59:58.500+00:00",
    "ended_at": "2026-01-06T00:00:01.750+00:00",
    "config": {"model": {"source": "synthetic"}, "batch_size": 2},
}
