"""What a campaign is planned from: this experiment's own axes, and its figures."""

from inferbench.settings.spec import Figure, Spec

SPEC = Spec(
    place=6,
    axes={
        "draft": "draft@experiment.draft",
        "draft_tokens": "experiment.draft_tokens",
        "strategy": "sampling@experiment.strategy",
    },
    figures=(
        Figure(
            name="speculative",
            title="What speculative decoding is worth",
            caption=(
                "Left, speed over plain decoding of the same model in the same process, measured "
                "and as expected from acceptance and costs. Right, what a proposal and its check "
                "cost in plain steps against the share of examined tokens that is accepted; a "
                "curve is what a pass gives at a draft length (k), so a point below its own curve"
                " is worth its cost."
            ),
            category="Speculative decoding",
        ),
    ),
)
