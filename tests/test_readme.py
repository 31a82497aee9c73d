"""What README, the pages of the site and the package promise to a reader."""

import re
from collections.abc import Iterator
from pathlib import Path
from socket import socket
from textwrap import dedent

import pytest
import torch

import sgrnn
from sgrnn.config.files import parse_recipe

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8") for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
}
README = PAGES["README.md"]
ELSEWHERE = {"docs/export.md"}  # tests/cli/test_export.py runs its blocks, with a model to be exported
BLOCKS = [
    pytest.param(code, id=f"{page}:{place}")
    for page, text in PAGES.items()
    if page not in ELSEWHERE
    for place, code in enumerate(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with a text of one's own, and what torchrun tells the one process of a group."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text("The value of any other text is that of a quick brown fox.\n" * 200)
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("code", BLOCKS)
def test_every_python_example_runs(code: str) -> None:
    exec(compile(code, "example", "exec"), {"__name__": "example"})


def test_there_are_examples_where_a_reader_expects_them() -> None:
    pages = {str(block.id).rpartition(":")[0] for block in BLOCKS}
    assert {"README.md", *(f"docs/{name}.md" for name in ("index", "own-model", "scale", "diagnostics"))} <= pages
    assert {f"docs/howto/{name}.md" for name in ("core", "synthesizer", "task")} <= pages


@pytest.mark.parametrize("page", PAGES)
def test_every_gradient_section_on_a_page_is_one_of_a_recipe(page: str) -> None:
    rest = "data: {corpus: python-docs}\nmodel: {hidden_size: 4}\noptimizer: {kind: adam}\ntraining: {epochs: 9}\n"
    for section in re.findall(r"`(gradient: \{.+?\})`", PAGES[page], re.DOTALL):
        parse_recipe(rest + section, section)
    for lines in re.findall(r"(?:^    \w+: \{.+\}\n)+", PAGES[page], re.MULTILINE):
        if "gradient: " in lines:
            parse_recipe(rest + dedent(lines), lines)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_links_to_exists(page: str) -> None:
    made = {
        "docs/recipe-fields.md",
        "docs/changelog.md",
        "docs/contributing.md",
    }  # when the site is built (docs/hooks.py)
    for link in re.findall(r"\]\((?!\w+:)([^)#\s]+)", PAGES[page]):
        target = ((ROOT / page).parent / link).resolve()
        place = str(target.relative_to(ROOT))
        assert target.exists() or place in made or place.startswith("docs/api/"), link


def test_the_pictures_are_pictures() -> None:
    pictures = {
        (ROOT / page).parent / picture
        for page, text in PAGES.items()
        for picture in re.findall(r"!\[.+?\]\((.+?)\)", text)
    }
    assert len(pictures) >= 12
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG" if picture.suffix == ".png" else b"<svg ")


def test_all_public_names_are_documented() -> None:
    for name in sgrnn.__all__:
        if name != "State":
            assert getattr(sgrnn, name).__doc__, name
