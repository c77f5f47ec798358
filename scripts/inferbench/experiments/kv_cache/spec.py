"""What a campaign is planned from: this experiment's own axes, and its figures."""

from inferbench.settings.spec import Figure, Spec

SPEC = Spec(
    place=4,
    axes={"cache": "experiment.cache"},
    figures=(
        Figure(
            name="kv_cache",
            title="What the cache of keys and values is worth",
            caption=(
                "Left, the time of a decode step against the tokens it attends to: points are "
                "medians of a replicate's steps, lines the straight lines fitted to them, whose "
                "slopes, with 95% intervals, stand above. Without a cache every step runs the "
                "whole sequence again. Right, bytes of the cache as held (points) and by formula "
                "(lines)."
            ),
            category="KV cache",
        ),
    ),
)
