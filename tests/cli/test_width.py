"""Every table on a terminal of 80 columns: no line is longer, no name is cut, and no column is lost."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from sgrnn.cli.tables import numbers_table, print_table
from sgrnn.config.files import shipped_recipes

from .commands import Commands
from .terminal import seen


def rows(lines: list[str]) -> list[list[str]]:
    """The cells of all tables, what goes on in the next line put together."""
    found: list[list[str]] = []
    for line in lines:
        if line[:1] not in "│┃" or not line:
            continue
        cells = [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        if found and not any(cells[1:]):
            found[-1][0] += cells[0]
        else:
            found.append(cells)
    return found


def assert_readable(lines: list[str], names: set[str], headings: set[str]) -> None:
    assert max(map(len, lines)) <= 80
    table = rows(lines)
    assert names <= {row[0] for row in table}
    assert headings <= {cell for row in table for cell in row}
    assert "…" not in "".join(lines)


LONG = "runs/quickstart-with-a-learning-rate-of-two-thousandths-"
FIGURES = {
    "estimator", "loss", "perplexity", "per word", "bits/char", "bits/byte", "<unk>", "epochs", "seconds", "target R²",
    "shrinkage",
}  # fmt: skip


@pytest.fixture
def two(mine: str, tiny: str) -> tuple[str, str]:
    """Two runs, whose names differ in their last letter alone."""
    Path("runs").mkdir()
    for run, letter in ((mine, "a"), (tiny, "b")):
        Path(run).rename(LONG + letter)
    return f"{LONG}a", f"{LONG}b"


@pytest.fixture
def narrow(sgrnn: Commands, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command line on a screen of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return sgrnn


def test_runs_are_compared_in_80_columns(folder: Path, two: tuple[str, str]) -> None:
    lines = seen(folder, "compare", *two)
    assert_readable([line for line in lines if not line.startswith("curves: ")], set(two), FIGURES)


def test_a_diagnosis_has_all_its_columns_in_80(narrow: Commands, two: tuple[str, str]) -> None:
    text = narrow.well("diagnose", two[0], "--horizon", 8, "--spans", 12)
    lines = text.splitlines()
    table = [line for line in lines if line[:1] in "│┃┏┡└"]
    metrics = json.loads(Path(two[0], "diagnosis.json").read_text())
    assert_readable(
        table,
        {*metrics["bias"]["contenders"], *metrics["bias"]["tensors"], "norm of the state", "h"},
        {
            "cosine", "R²", "norm ratio", "R² hidden", "R² cell", "relative error", "shows after updates", "estimator",
            "truncated T=3", "noise of one update",
        },
    )  # fmt: skip
    assert "what is injected at a boundary" in text


def test_a_sweep_shows_every_field_in_80_columns(folder: Path, narrow: Commands) -> None:
    fields = (
        "optimizer.learning_rate", "synthesizer_optimizer.learning_rate", "gradient.synthesizer.hidden_sizes",
        "model.hidden_size",
    )  # fmt: skip
    (folder / "space.yaml").write_text(
        f"{fields[0]}: {{low: 1e-3, high: 1e-1, log: true}}\n{fields[1]}: [0.001]\n{fields[2]}: [[8], [4]]\n"
        f"{fields[3]}: [8, 12]\n"
    )
    short = ("--training.max_updates=2", "--trials", 2)
    lines = narrow.well("sweep", "tiny.yaml", "--space", "space.yaml", "--study", "mine", *short).splitlines()
    table = [line for line in lines if line[:1] in "│┃┏┡└"]
    assert_readable(table, {"0", "1", "trial"}, {*fields, "state", "complete", "loss", "perplexity"})


def test_recipes_and_data_are_listed_in_80_columns(folder: Path) -> None:
    lines = seen(folder, "recipes", "list")
    assert_readable(lines, set(shipped_recipes()), {"what it does"})
    lines = seen(folder, "data", "list")
    headings = {"state", "size", "what it is", "terms"}
    assert_readable(lines, {"ptb", "ptb-char", "wikitext-2", "mnist", "python-docs", "text"}, headings)


def test_a_table_of_any_size_keeps_every_cell() -> None:
    for columns in (40, 60, 79, 80, 100):
        for length in (1, 30, 70, 200):
            assert_keeps_every_cell(columns, length)


def assert_keeps_every_cell(columns: int, length: int) -> None:
    file = StringIO()
    console = Console(width=columns, file=file, force_terminal=True, color_system=None)
    table = numbers_table("name", *(f"figure {number}" for number in range(9)), title="a title")
    names = ["x" * length + end for end in "ab"]
    for name in names:
        table.add_row(name, *(f"{name[-1]}{number}" for number in range(9)))
    print_table(console, table)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue()).splitlines()
    assert max(map(len, lines)) <= columns
    assert_has_all(lines, names)


def assert_has_all(lines: list[str], names: list[str]) -> None:
    found = rows(lines)
    assert {row[0] for row in found} == {"name", *names}
    for number in range(9):
        assert sum(f"figure {number}" in row for row in found) == 1
        assert all(sum(f"{end}{number}" in row for row in found) == 1 for end in "ab")


def test_nobodys_screen_is_as_wide_as_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table("name", *map(str, range(30)))
    table.add_row("x" * 100, *(["12345678"] * 30))
    print_table(Console(), table)
    assert len(capsys.readouterr().out.splitlines()) == 5
