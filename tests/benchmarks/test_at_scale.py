"""What docs/scale.md says of parameters and shares is what the modules have; the docs' figures are of their tables."""

import json
import sys
from pathlib import Path

import at_scale
import pytest
from frame import benchmark

DOCS = Path(__file__).parents[2] / "docs"


def test_the_formulas_of_the_text_are_those_of_the_code() -> None:
    for layers, units in ((1, 200), (3, 1150), (1, 10_000)):
        row = at_scale.on_paper(layers, units, 33_000, 5, "error")
        assert row["synthesizer_parameters"] == (1_296 * layers + 320) * units + 16_576
        core, output = row["core_parameters"], row["output_parameters"]
        assert (core, output) == (8 * layers * units**2 + 8 * layers * units, 33_000 * (units + 1))
        assert row["operations"] == 6 * (core + output)
        share = 8 * (2 * core + 4 * output) / 20 / row["operations"]
        assert row["running_ahead_share"] == pytest.approx(share)
        assert 8 / 20 / 3 < share < 8 / 20 * 2 / 3
    row = at_scale.on_paper(1, 10_000, 33_000, 1, "adjoint")
    learned = row["core_parameters"] + row["output_parameters"] + 33_000 * 10_000 + row["synthesizer_parameters"]
    assert row["bytes_sent"] == 8 * learned


def test_the_table_of_the_text_is_what_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["at_scale.py"])
    benchmark(None, lambda parser: None, at_scale.run, at_scale.show)
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if line and "---" not in line]
    written = [line.split() for line in (DOCS / "scale.md").read_text("utf-8").splitlines()]
    assert len(printed) == 25
    assert all(line in written for line in printed)


def test_the_figures_of_the_docs_are_drawn_from_the_numbers_of_their_tables() -> None:
    texts = {"reach": "reach.md", "speed": "performance.md"}
    digits = {"quality": 1, "hierarchy": 3, "schedules": 2, "digits": 3, "reach": 0, "speed": 2}
    for name, places in digits.items():
        text = (DOCS / texts.get(name, "results.md")).read_text("utf-8")
        records = json.loads((DOCS / "records" / f"{name}.json").read_bytes())
        assert len(records) > 10
        assert [r for r in records if f"{r['value']:.{places}f}" not in text] == []
