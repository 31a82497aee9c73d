"""What README and the package promise to a reader."""

import re
from pathlib import Path
from types import ModuleType

import pytest

import sgrnn

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_every_python_example_in_the_readme_runs(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_every_file_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) >= 6
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_public_names_are_exactly_the_list_and_documented() -> None:
    found = {
        name for name, value in vars(sgrnn).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert found == set(sgrnn.__all__)
    for name in sgrnn.__all__:
        if name != "State":
            assert getattr(sgrnn, name).__doc__, name
