"""Made-up tables whose advice is worked out by hand, and how the tests ask for it.

One replicate, sdpa. Decode tokens/s at batch 1: fp32 22, bf16 44, int8 11, nf4 27.5; at batch 4 three
times that. A token of a stream takes 1000 x batch / speed ms, the first one four times as long:

          batch 1: TPOT, TTFT    batch 4: TPOT, TTFT     memory
    fp32   45.5   182             60.6   242             1.438 GB
    bf16   22.7    90.9           30.3   121             1.169 GB
    int8   90.9   364            121     485             1.063 GB
    nf4    36.4   145             48.5   194             1.019 GB
"""

from inferbench.analysis.limits import Divergence
from inferbench.report.advice import advise
from inferbench.report.advice_words import opening
from made_up_tables import demo_cells, demo_measurements, judged_cells, spread

#: nats, all measured
KL = {
    ("smollm2-135m", "fp32"): Divergence(0.0, 0.0),
    ("smollm2-135m", "bf16"): Divergence(0.10, 0.12),
    ("smollm2-135m", "int8"): Divergence(0.02, 0.03),
    ("smollm2-135m", "nf4"): Divergence(0.04, 0.06),
}


def table(model="smollm2-135m", source="bundled", **axes):
    return demo_cells(demo_measurements(model, source, **{"attention": ("sdpa",), "replicate": (1,), **axes}))


def with_intervals(summary, share):
    """The summary of 3 replicates each, with intervals of `share` to both sides of speeds and times."""
    ends = {}
    for metric in ("decode_tokens_per_s", "ttft_ms", "tpot_ms"):
        ends[f"{metric}_low"], ends[f"{metric}_high"] = (summary[metric] * (1 + s) for s in (-share, share))
    return summary.assign(**ends, replicates_valid=summary["replicates_valid"] * 3)


def judged(rates, share=0.002, uuids=None, **axes):
    """The summary with the workflow's own tests, against bf16: three replicates of each cell about its rate of `rates`,
    on the card of its precision in `uuids` or on one card."""
    measurements = demo_measurements(
        **{"attention": ("sdpa",), "batch_size": (1,), **axes, "replicate": (1, 2, 3)}
    )
    card = measurements["precision"].map(lambda precision: (uuids or {}).get(precision, "GPU-1"))
    return judged_cells(spread(measurements, rates, share).assign(device_uuid=card), {"precision": "bf16"})


def choose(summary, limits=None, divergences=None):
    """The choices of the one subject there is, by aim."""
    [advice] = advise(summary, limits or {}, divergences or {})
    return {choice.aim: choice for choice in advice.choices}


def named(row):
    return f"{row['precision']} b{row['batch_size']}"


def say(summary, limits=None, divergences=None, campaign=None):
    """All words of the opening, one sentence a line."""
    lead, subjects = opening(summary, campaign or {}, limits or {}, divergences, {})
    lines = list(lead)
    for subject in subjects:
        lines += [f"# {subject.title}", *subject.notes]
        for card in subject.cards:
            lines += [f"{card.title}: {card.pick}: {card.speed} {card.certainty}"]
            lines += [f"{quantity} {value}" for quantity, value in card.facts] + card.sentences
    return "\n".join(lines)
