"""The Pareto front on tables made by hand."""

import pandas as pd

from inferbench.analysis.pareto import dominated_by


def dominators(rows):
    """rows: name -> (kl, bytes, speed)."""
    table = pd.DataFrame(rows, index=["kl", "bytes", "speed"]).T.astype(float)
    return dominated_by(table, ["kl", "bytes"], "speed").to_dict()


def test_beaten_in_everything_is_dominated_and_a_trade_is_not():
    found = dominators(
        {
            "exact": (0.0, 4, 10),  # nothing is nearer
            "small": (0.3, 1, 30),  # nothing is smaller
            "fast": (0.1, 2, 40),  # nothing is faster
            "worse": (0.2, 3, 20),  # fast is nearer, smaller and faster; small is farther
            "worst": (0.4, 5, 5),  # everything beats it
        }
    )
    assert found["exact"] == found["small"] == found["fast"] == []
    assert found["worse"] == ["fast"]
    assert found["worst"] == ["exact", "small", "fast", "worse"]


def test_equal_choices_do_not_dominate_each_other():
    assert dominators({"one": (0.1, 2, 10), "other": (0.1, 2, 10)}) == {"one": [], "other": []}


def test_better_in_one_respect_and_equal_in_the_others_dominates():
    assert dominators({"nearer": (0.1, 2, 10), "farther": (0.2, 2, 10)})["farther"] == ["nearer"]
    assert dominators({"smaller": (0.1, 1, 10), "larger": (0.1, 2, 10)})["larger"] == ["smaller"]
    assert dominators({"fast": (0.1, 2, 20), "slow": (0.1, 2, 10)})["slow"] == ["fast"]


def test_half_a_per_cent_of_speed_neither_saves_nor_condemns():
    # A twin nearer to the reference wins, although it is 0.5% slower ...
    assert dominators({"fp16": (0.001, 2, 99.5), "bf16": (0.01, 2, 100)})["bf16"] == ["fp16"]
    # ... but not when it is 2% slower.
    assert dominators({"fp16": (0.001, 2, 98), "bf16": (0.01, 2, 100)})["bf16"] == []
    # Nor does 0.5% alone make one of two equals dominate the other.
    assert dominators({"one": (0.1, 2, 100), "other": (0.1, 2, 99.5)})["other"] == []


def test_a_choice_with_an_unknown_number_takes_no_part():
    found = dominators({"known": (0.2, 2, 10), "unmeasured": (0.1, 1, float("nan"))})
    assert found == {"known": [], "unmeasured": []}
