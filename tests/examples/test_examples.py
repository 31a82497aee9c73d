"""Every example is short, runs, prints what its docstring says, and shows what it is there to show."""

import ast
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
NUMBER = re.compile(r"\d+\.\d+")

# lightning 2.6 asks a pytree for its leaves in a way that torch 2.13 will give up.
OLD_PYTREE = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")


def of_bits(truncated: float, synthetic: float, detached: float, boundary: float) -> bool:
    return truncated > 0.5 and synthetic < 0.2 and detached > 0.5 and boundary < 0.3


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("plain_torch", of_bits),
        pytest.param("lightning_module", lambda first, last: first > 0.6 and last < 0.2, marks=OLD_PYTREE),
        ("trainer", lambda first, last: first > 0.6 and last < 0.2),
        ("one_by_one", lambda truncated, synthetic: truncated < 0.75 and synthetic > 0.9),
        ("control_loop", lambda load, felt: felt < load / 4),
        ("forecaster", lambda error, zeros: error < zeros / 2),
    ],
)
def test_an_example_prints_what_its_docstring_says(
    name: str, shows: Callable[..., bool], capfd: pytest.CaptureFixture[str]
) -> None:
    path = FOLDER / f"{name}.py"
    source = path.read_text("utf-8")
    assert len(source.splitlines()) < 60
    docstring = ast.get_docstring(ast.parse(source)) or ""
    promised = docstring.split(f"$ python examples/{name}.py\n")[1].splitlines()
    runpy.run_path(str(path), run_name="__main__")
    printed = capfd.readouterr().out.splitlines()[-len(promised) :]
    assert [NUMBER.sub("#", line) for line in printed] == [NUMBER.sub("#", line.strip()) for line in promised]
    assert shows(*map(float, NUMBER.findall("\n".join(printed)))), printed
