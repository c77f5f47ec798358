"""What tokens cost in money and energy, in words and in the report."""

import pandas as pd
import pytest

from inferbench.analysis.costs import costs, per_million_tokens
from inferbench.report.cost_words import cost_sentences
from inferbench.report.page import write_report
from inferbench.run.parts import part
from made_up_tables import demo_measurements, demo_provenance, demo_summary, gpu_row, gpu_table


def test_cost_of_a_million_tokens():
    # 3.60 an hour is 0.001 a second; at 100 tokens/s a million take 10 000 s.
    assert per_million_tokens(3.6, pd.Series([100.0])).tolist() == pytest.approx([10.0])


def test_costs_follow_price_and_energy():
    measurements = gpu_table(
        gpu_row(joules_per_token=4.0),
        gpu_row(precision="nf4", decode_tokens_per_s=200.0, joules_per_token=2.0),
        gpu_row(batch_size=8, decode_tokens_per_s=800.0, joules_per_token=0.5),
    )
    summary = demo_summary(measurements)
    table = costs(summary, 3.6)
    assert table["cost"].tolist() == pytest.approx([10.0, 5.0, 1.25])
    assert table["tokens_per_joule"].tolist() == pytest.approx([0.25, 0.5, 2.0])
    words = " ".join(cost_sentences(table, 3.6))
    assert "1.25 (bf16, sdpa, cuda_graph, batch 8)" in words
    assert (
        "at batch size 1, by its centre: 0.500 tokens/J (nf4, sdpa, cuda_graph, batch 1), no intervals against 1 other cell."
        in words
    )
    assert "at batch size 8, by its centre: 2.00 tokens/J (bf16" in words
    assert words.endswith("Energy is of decoding, without the prefill. Its differences are not tested.")
    without_price = costs(summary, None)
    assert without_price["cost"].isna().all()
    assert "GPU hour" not in " ".join(cost_sentences(without_price, None))


def test_costs_of_workloads_are_told_apart():
    # 4 J a token under the long prompt are no worse choice than 2 J under the short one.
    long = gpu_row(cell="long", workload="p8192n128", joules_per_token=4.0, decode_tokens_per_s=50.0)
    table = costs(demo_summary(gpu_table(gpu_row(joules_per_token=2.0), long)), 3.6)
    words = " ".join(cost_sentences(table, 3.6))
    # At 0.001 a second, a million tokens take 10 000 s at 100 tokens/s and 20 000 s at 50.
    for workload, cost, tokens in (("p32n128", "10.0", "0.500"), ("p8192n128", "20.0", "0.250")):
        assert f"under workload {workload}, by its centre: {cost} (bf16" in words
        assert f"under workload {workload} at batch size 1, by its centre: {tokens} tokens/J (bf16" in words


def test_no_order_of_energy_inside_the_noise():
    """4.0 J (3.8 to 4.2) and 4.1 (3.9 to 4.3) overlap; 5.0 (4.9 to 5.1) is apart from the best."""
    rows = [gpu_row(joules_per_token=4.0)]
    rows += [
        gpu_row(precision=name, joules_per_token=joules) for name, joules in (("fp16", 4.1), ("nf4", 5.0))
    ]
    summary = demo_summary(gpu_table(*rows))
    summary["joules_per_token_low"], summary["joules_per_token_high"] = [3.8, 3.9, 4.9], [4.2, 4.3, 5.1]
    [most, _] = cost_sentences(costs(summary, None), None)
    assert most.endswith(
        "0.250 tokens/J (bf16, sdpa, cuda_graph, batch 1), not told apart from fp16, sdpa, cuda_graph, batch 1."
    )


def test_without_price_and_energy_there_is_no_cost():
    table = costs(demo_summary(demo_measurements()), None)
    assert table.empty
    assert cost_sentences(table, None) == []


def page(tmp_path, measurements, **campaign):
    provenance = demo_provenance(measurements)
    provenance["campaign"] |= campaign
    write_report(
        measurements, demo_summary(measurements), {}, provenance, tmp_path, part, tmp_path / "report.html"
    )
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_report_of_a_gpu_campaign_has_its_costs_and_spending(tmp_path):
    measurements = gpu_table(gpu_row(joules_per_token=4.0), gpu_row(replicate=2, joules_per_token=4.0))
    html = page(tmp_path, measurements, price_per_gpu_hour=3.6)
    assert "Device time 40.0 s: measuring 60%" in html
    assert "At 3.60 per GPU hour" in html
    assert "cost per million tokens" in html
    assert "No drift of decode speed" in html


def test_report_without_price_and_energy_has_no_costs(tmp_path):
    html = page(tmp_path, demo_measurements())
    assert 'id="costs"' not in html
    assert 'id="validity"' in html
    assert "not checked: no driver" in html
