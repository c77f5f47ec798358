"""What a campaign is planned from: this experiment's own axes, and its figures."""

from inferbench.settings.spec import Figure, Spec

SPEC = Spec(
    place=2,
    axes={"strategy": "sampling@experiment.strategy"},
    figures=(
        Figure(
            name="sampling",
            title="Diversity against likelihood, by sampling strategy",
            caption=(
                "Left, the share of pairs of neighbouring tokens that are distinct, over all "
                "texts of a strategy; right, the BLEU of a text against the other seeds of its "
                "prompt (100: all the same). Both against the mean negative log-probability of "
                "the texts' tokens under the model itself, without temperature or filters; "
                "logarithmic axis."
            ),
            category="Sampling",
        ),
    ),
)
