"""What a campaign is planned from: this experiment's own axes, and its figures."""

from inferbench.settings.spec import Figure, Spec

SPEC = Spec(
    place=1,
    axes={"reference": "precision@experiment.reference"},
    figures=(
        Figure(
            name="quality",
            title="Quality, speed and memory: which precisions are worth having",
            caption=(
                "Each precision's mean KL divergence from the reference over a fixed text, "
                "against its decode speed and its memory at the baseline's setting. A precision "
                "is dominated (grey) when another is at least as good in all three and better in "
                "one, speeds within 1% taken as equal. Below a dotted line, where there is one: "
                "no divergence at all. Whiskers are 95% intervals, of the divergence over windows"
                " of the text."
            ),
            category="Quality",
        ),
    ),
)
