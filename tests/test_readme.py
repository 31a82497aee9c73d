"""What README and the package promise to a reader."""

import re
from pathlib import Path

import pytest

import sgrnn
from sgrnn.config.files import parse_recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
DIAGNOSTICS = (ROOT / "docs" / "diagnostics.md").read_text("utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README + DIAGNOSTICS, re.DOTALL))
def test_every_python_example_in_the_readme_and_on_diagnostics_runs(code: str) -> None:
    exec(compile(code, "example", "exec"), {"__name__": "example"})


def test_every_gradient_section_in_the_readme_is_one_of_a_recipe() -> None:
    rest = "task: {kind: copy}\nmodel: {hidden_size: 4}\noptimizer: {kind: adam}\ntraining: {epochs: 9}\n"
    sections = re.findall(r"`(gradient: \{.+?\})`", README, re.DOTALL)
    assert len(sections) >= 2
    for section in sections:
        parse_recipe(rest + section, section)


def test_the_pictures_on_diagnostics_exist() -> None:
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", DIAGNOSTICS)
    assert len(pictures) >= 5
    assert all((ROOT / "docs" / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_every_file_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) >= 6
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_figure_and_the_results_are_there() -> None:
    assert (ROOT / "docs" / "quality.png").read_bytes().startswith(b"\x89PNG")
    assert "RESULTS" not in README


def test_all_public_names_are_documented() -> None:
    for name in sgrnn.__all__:
        if name != "State":
            assert getattr(sgrnn, name).__doc__, name
