"""Every command that README, the pages, the recipes and the help show can be given as it stands there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer import Context
from typer.main import get_command

from sgrnn.cli.app import app
from sgrnn.cli.options import overrides_of
from sgrnn.config.files import load_recipe, shipped_recipes
from sgrnn.config.reference import reference

ROOT = Path(__file__).parents[2]
OF_THE_PAST = {"CHANGELOG.md", "log.md"}  # which name commands that are gone
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "recipes/*.yaml", "sgrnn/cli/*.py")
    for page in ROOT.glob(pattern)
    if page.name not in OF_THE_PAST
)


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of each command in a text: in lines of code, in `code` within a line, in an example of the help."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL).replace("\\\n", " ")
    lines = re.findall(r"^(?: {4,}|#  +|    Example: )(.*\bsgrnn .*)$", text, re.MULTILINE)
    inline = [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]*)`", text)]
    for line in [*lines, *inline]:
        for command in line.split("&&"):
            if found := re.match(r"\s*(?:torchrun .* )?sgrnn +(.*)", command):
                yield shlex.split(re.split(r"  +(?=[a-z#])", found[1])[0], comments=True)


def parse(words: list[str]) -> Context | None:
    """Parse a command; None for one that is only named, or asks for help."""
    command: Any = get_command(app)
    context = Context(command, info_name="sgrnn")
    words = list(words)
    while hasattr(command, "commands") and words:
        word = words.pop(0)
        if word.startswith("-"):
            assert word in [option for parameter in command.get_params(context) for option in parameter.opts], word
            return None
        assert word in command.commands, word
        command = command.commands[word]
    return command.make_context(command.name, words) if words and "--help" not in words else None


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_on_a_page_parses_and_its_fields_exist(page: Path) -> None:
    for words in commands_in(page.read_text("utf-8")):
        context = parse(words)
        if context is None or not context.args:
            continue
        overrides = overrides_of(context)
        recipe = context.params.get("recipe", context.params.get("name"))
        if recipe in shipped_recipes():
            load_recipe(recipe, overrides)
        for field in overrides:
            if field.startswith("--"):
                assert reference(field[2:].partition("=")[0])


def test_commands_are_found_where_they_are_shown() -> None:
    found = [words for page in PAGES for words in commands_in(page.read_text("utf-8"))]
    assert len(found) > 100
    assert ["train", "ptb-word-small", "--run", "runs/two"] in found, "behind torchrun"
    assert ["train", "quickstart"] in found, "behind pip install"
    with pytest.raises(AssertionError, match="trian"):
        parse(["trian", "quickstart"])
