"""Names under which transformers finds this project's attention functions. No import: reasons are given before
transformers is loaded."""

#: Attention over a static cache, which captured steps need: the names under which transformers finds the
#: functions of `static`.
STATIC_ATTENTION = {"sdpa": "inferbench_sdpa", "flash_attention_2": "inferbench_flash", "eager": "eager"}
