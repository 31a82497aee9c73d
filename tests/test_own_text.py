"""The example of a language model on one's own text, by a recipe and by hand."""

import re
import runpy
import sys
from math import log
from pathlib import Path

import pytest
from stand_in import make_lines

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_text.py"


@pytest.mark.parametrize("options", [(), ("--by-hand",)], ids=["recipe", "by hand"])
def test_a_file_of_ones_own_becomes_a_perplexity_and_a_sample(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60
    text = make_lines(200)
    (tmp_path / "book.txt").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [EXAMPLE.name, "book.txt", "--updates", "12", *options])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    found = re.search(
        r"\ntest perplexity ([\d.]+) per token, ([\d.]+) bits per character\n(.*)", capsys.readouterr().out, re.S
    )
    assert found is not None
    perplexity = float(found[1])
    assert perplexity < len(set(text)) - 2, "something was learned"
    assert float(found[2]) == pytest.approx(log(perplexity) / log(2), abs=2e-3)
    assert len(found[3].removesuffix("\n")) >= 300
    assert set(found[3]) <= {*text, *"<unk>"}
    assert Path("runs/quickstart-1/checkpoints").is_dir() == (not options)
