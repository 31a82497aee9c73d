"""What docs/scale.md says of parameters and shares is what the modules have."""

import sys
from pathlib import Path

import at_scale
import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("layers", "units"), [(1, 200), (2, 200), (3, 1150), (1, 10_000)])
def test_the_formulas_of_the_text_are_those_of_the_code(layers: int, units: int) -> None:
    row = at_scale.on_paper(layers, units, 33_000, 5, "error")
    assert row["synthesizer_parameters"] == (1_296 * layers + 320) * units + 16_576
    assert row["core_parameters"] == 8 * layers * units**2 + 8 * layers * units
    assert row["output_parameters"] == 33_000 * (units + 1)
    core, output = row["core_parameters"], row["output_parameters"]
    assert row["operations"] == 6 * (core + output)
    share = 8 * (2 * core + 4 * output) / 20 / row["operations"]
    assert row["running_ahead_share"] == pytest.approx(share)
    assert 8 / 20 / 3 < share < 8 / 20 * 2 / 3


def test_the_table_of_the_text_is_what_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["at_scale.py"])
    at_scale.main()
    assert capsys.readouterr().out in (DOCS / "scale.md").read_text("utf-8")


def test_sent_are_eight_bytes_for_each_parameter_that_learns() -> None:
    row = at_scale.on_paper(1, 10_000, 33_000, 1, "adjoint")
    learned = row["core_parameters"] + row["output_parameters"] + 33_000 * 10_000 + row["synthesizer_parameters"]
    assert row["bytes_sent"] == 8 * learned
