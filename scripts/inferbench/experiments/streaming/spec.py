"""What a campaign is planned from: this experiment's own axes, and its figures."""

from inferbench.settings.spec import Figure, Spec

SPEC = Spec(
    place=5,
    axes={},
    figures=(
        Figure(
            name="streaming",
            title="What the reader of a stream sees",
            caption=(
                "Times between tokens as the reader of a stream, another thread, sees them, and "
                "in the same run without streaming as the decoding thread does. Left, over the "
                "sequence: lines are medians of all rounds and replicates, bands reach from the "
                "smallest to the largest; the longest are named where they leave the panel. "
                "Right, their distribution: the latency within which a share of the tokens came."
            ),
            category="Streaming",
        ),
    ),
)
