"""What a campaign is planned from: the grid's own axes, and its figures in the order of the report."""

from inferbench.settings.spec import Figure, Spec

SPEC = Spec(
    place=0,
    axes={"execution": "execution", "workload": "workload", "batch_size": "batch_size"},
    figures=(
        Figure(
            name="ranking",
            title="Every combination, fastest first",
            caption=(
                "Decode tokens per second of the whole batch, for the smallest and the largest "
                "batch size of each model and workload. Large marks are centres across "
                "replicates, small ones below them the replicates (fresh processes); bars are 95%"
                " intervals, where there are 3 replicates or more; of compiled cells, whose "
                "replicates share one compilation, there are none. Hollow marks carry a flag that"
                " forbids ranking."
            ),
            category="Answer",
            module="figures.ranking",
        ),
        Figure(
            name="precision",
            title="Memory and decode speed by precision",
            caption=(
                "What a precision costs in memory and gives in speed, all else held at the "
                "baseline's setting; where that is not captured and several precisions ran "
                "captured, these are below it on the same scale. Points are replicates (fresh "
                "processes); whiskers, where there are 3 replicates or more, are 95% intervals, "
                "which compiled cells do not have. Hollow bars and points carry a flag that "
                "forbids ranking them."
            ),
            category="Precision",
            module="figures.precision",
        ),
        Figure(
            name="throughput",
            title="Decode throughput against batch size",
            caption=(
                "Tokens per second of the whole batch while decoding. Large marks are centres "
                "across replicates, small ones the replicates, whiskers 95% intervals, which "
                "compiled cells do not have; hollow marks carry a flag that forbids ranking."
            ),
            category="Batch size",
            module="figures.throughput",
        ),
        Figure(
            name="latency",
            title="Time to first token and time per output token",
            caption=(
                "What one user waits: the time to first token (TTFT, prefill included) and the "
                "mean time per output token after it (TPOT). Marks as in the throughput figure."
            ),
            category="Batch size",
            module="figures.latency",
        ),
        Figure(
            name="context",
            title="Prefill and decode speed by context",
            caption=(
                "What longer prompts cost: left, tokens of the prompt per second until the first "
                "token; right, tokens per second after it, when every step reads the keys and "
                "values of all tokens before. Of the whole batch; marks are centres across "
                "replicates, whiskers 95% intervals, hollow marks carry a flag that forbids "
                "ranking."
            ),
            category="Context",
            module="figures.context",
        ),
        Figure(
            name="grid",
            title="The whole grid",
            caption=(
                "Decode tokens per second of every declared cell. Grey, hatched cells did not end"
                " ok and say what became of them; white, framed cells carry a flag that forbids "
                "ranking; blank ones are not declared."
            ),
            category="Grid",
            module="figures.grid",
        ),
        Figure(
            name="roofline",
            title="How close each cell comes to its device",
            caption=(
                "Decoding is bound by memory: bytes that a step must move (weights, keys and "
                "values of the mean context) per second, against the best copy and read "
                "bandwidths that processes measured on the same card. Prefill of a long prompt is"
                " bound by arithmetic and stands against the measured matrix rate; of a short one"
                " the host sets the time, which launches its kernels one by one in every mode. A "
                "cross marks cells in which no kernel runs for over a fifth of a step: there the "
                "host, and not the precision, sets the speed. At large batches a step computes "
                "more, and the share of the bandwidth falls for that reason."
            ),
            category="Hardware",
            module="figures.roofline",
        ),
        Figure(
            name="breakdown",
            title="Where a decode step spends its time",
            caption=(
                "Kernel times of one profiled step by class; gaps are the part of an unprofiled "
                "step in which no kernel runs; the wait is what a token takes beyond that step "
                "when it is read before the next is started, as a stream is. Eager attention is "
                "matrix products and other kernels. Profiling itself is outside the timed region "
                "and slows kernels a little: they can come to more than 100% of the unprofiled "
                "step."
            ),
            category="Hardware",
            module="figures.breakdown",
        ),
        Figure(
            name="memory",
            title="Memory: predicted, and measured",
            caption=(
                "Left, each cell's memory as predicted from shapes before the run, against that "
                "of its process. Right, each figure of memory by itself, at the setting named: "
                "weights counted from their storages, the KV cache as held and by formula, what "
                "torch allocated and reserved, and the driver's figure of the process; on a CPU "
                "the resident memory of the process."
            ),
            category="Memory",
            module="figures.memory",
        ),
        Figure(
            name="spending",
            title="How the device's time was spent",
            caption=(
                "Seconds of the measuring processes by stage: all replicates of the campaign "
                "together, and the mean replicate of each execution and precision."
            ),
            category="Time",
            module="figures.spending",
            by_kind=False,  # time is spent on whatever kind of device
        ),
    ),
    with_others=(
        Figure(
            name="beside",
            title="Decode speed beside other campaigns",
            caption=(
                "Geometric mean of a cell's replicates here over that in the other campaign, with"
                " its 95% interval where both have 3 replicates or more; logarithmic axis. Inside"
                " the grey band (1%) nothing is a finding."
            ),
            category="Other campaigns",
            module="figures.beside",
        ),
    ),
)
