"""What a campaign is planned from: this experiment's own axes, and its figures."""

from inferbench.settings.spec import Figure, Spec

SPEC = Spec(
    place=3,
    axes={"batch_size": "experiment.batch_size"},
    figures=(
        Figure(
            name="batching",
            title="One by one, and as a batch",
            caption=(
                "Left, tokens per second of all prompts together, prefill included, against what "
                "one user sees after the first token: hollow marks are prompts served one by one,"
                " filled ones batches, with their sizes. Right, how many times as fast the batch "
                "is as the same prompts one by one; whiskers, where there are 3 replicates or "
                "more, are 95% intervals."
            ),
            category="Batching",
        ),
    ),
)
