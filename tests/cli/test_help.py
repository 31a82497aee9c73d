"""Help: every command shows an example, from any folder, as `sgrnn` and as `python -m sgrnn`."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from sgrnn.cli.app import app

from .commands import Commands


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The command and everything below it."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*path, name))


COMMANDS = list(paths(get_command(app)))


def test_the_commands_are_these() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        "", "train", "resume", "sweep", "evaluate", "generate", "export", "compare", "diagnose", "report",
        "recipes", "recipes list", "recipes show", "recipes copy", "recipes check", "recipes fields",
        "data", "data list", "data fetch", "data check",
    }  # fmt: skip


def test_every_help_shows_an_example_of_the_command(sgrnn: Commands) -> None:
    for path in COMMANDS:
        output = sgrnn.well(*path, "--help")
        assert re.search(rf"Example: {' '.join(('sgrnn', *path))}\s", output)


def test_an_unknown_command_is_refused_without_a_traceback(sgrnn: Commands) -> None:
    outcome = sgrnn("trian", "quickstart")
    assert outcome.status == 2
    assert "No such command 'trian'" in outcome.err
    assert "Traceback" not in outcome.err


def test_it_runs_as_a_module_from_any_folder(folder: Path) -> None:
    command = [sys.executable, "-m", "sgrnn", "recipes", "check", "nowhere.yaml"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "sgrnn: cannot read the recipe nowhere.yaml: [Errno 2] No such file or directory: 'nowhere.yaml'\n"
    )
