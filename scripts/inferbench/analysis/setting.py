"""The setting at which the precisions of a model are compared."""

from __future__ import annotations

import pandas as pd

#: What is held fixed while precisions are compared.
SETTING = ["attention", "execution", "workload", "batch_size"]


def shown_setting(summary: pd.DataFrame, model: str) -> tuple[dict[str, object], str]:
    """The setting at which the precisions of `model` are compared, and why that one, in words.

    It is the setting of the model's baseline cell (of its smallest batch), else of the campaign's
    baseline; where the model has no ok cell there, the setting at which most of its precisions are ok.
    """
    own = summary[summary["model"] == model]
    baseline = summary[summary["is_baseline"]].sort_values("batch_size", kind="stable")
    baseline = pd.concat([baseline[baseline["model"] == model], baseline])
    if len(baseline):
        setting = baseline.iloc[0][SETTING].to_dict()
        if (at_setting(own, setting)["status"] == "ok").any():
            return setting, "the baseline's setting"
    counts = own.assign(ok=own["status"] == "ok").groupby(SETTING, sort=False)["ok"].sum()
    setting = dict(zip(SETTING, counts.idxmax(), strict=True))
    return setting, "the baseline has no ok cell here: the setting at which most precisions are ok"


def at_setting(table: pd.DataFrame, setting: dict[str, object]) -> pd.DataFrame:
    """The rows of `table` at that setting."""
    for axis, value in setting.items():
        table = table[table[axis] == value]
    return table
