"""Consoles, files and pipes that know fewer characters than a text has: what they cannot show is replaced."""

import errno
import os
import random
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from sgrnn.errors import InputError
from sgrnn.training.checkpoints import latest_checkpoint
from sgrnn.training.console import PlainConsole
from sgrnn.training.views import Views

from .commands import Commands, table_in
from .terminal import seen

PROGRAM = """
import sys, shlex
from sgrnn.cli import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["sgrnn", *shlex.split(line)]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, (line, ended.code)
    print("done:", line.split()[0])
"""
RECIPE = """
data: {corpus: text, train: texts.txt, tokenizer: {kind: word}}
model: {hidden_size: 8}
gradient: {kind: synthetic, window: 5}
training: {epochs: 1, max_updates: 3, batch_size: 4}
sample: {prompt: "\u4e2d\u6587 na\u00efve"}
"""
COMMANDS = """
--help
recipes list
data list
recipes show r.yaml --resolved
train r.yaml --run r\u00e9\u4e2d
resume r\u00e9\u4e2d
evaluate r\u00e9\u4e2d
generate r\u00e9\u4e2d --length 20 --seed 1 --prompt "\u4e2d\u6587 \U0001f642 unknown\u2603"
compare r\u00e9\u4e2d
diagnose r\u00e9\u4e2d --horizon 6 --spans 4
"""


@pytest.fixture
def foreign(folder: Path) -> Path:
    """The folder with a text of words that few consoles know."""
    draw = random.Random(0)
    words = ["\u00e9t\u00e9", "na\u00efve", "\u4e2d\u6587", "\U0001f642"]
    lines = "".join(" ".join(draw.choices(words, k=8)) + "\n" for _ in range(300))
    (folder / "texts.txt").write_text(lines, "utf-8")
    (folder / "r.yaml").write_text(RECIPE, "utf-8")
    return folder


def test_every_command_ends_well_on_a_console_that_is_not_utf_8(foreign: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.stdin.reconfigure(encoding='utf-8'){PROGRAM}"],
        cwd=foreign, input=COMMANDS.strip().encode(), timeout=300, check=False, capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "cp1252:strict", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr.decode(errors="replace")
    output = ended.stdout.decode("cp1252")
    assert "Traceback" not in ended.stderr.decode(errors="replace")
    assert output.count("done: ") == len(COMMANDS.split("\n")) - 2
    assert "?? " in output, "the text, as far as it goes"
    assert "\u00e9t\u00e9" in output, "what can be shown is"


def test_a_width_of_nothing_shows_everything(sgrnn: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("0", "00"):
        monkeypatch.setenv("COLUMNS", columns)
        assert "python-docs" in sgrnn.well("data", "list")


@pytest.mark.parametrize("command", ["train tiny.yaml --run mine", "sweep tiny.yaml --space space.yaml --study mine"])
def test_training_that_nobody_reads_any_more_is_saved_and_stops(folder: Path, command: str) -> None:
    """As `sgrnn train ... | head` has it: not without a word, and with nothing lost."""
    (folder / "space.yaml").write_text("model.hidden_size: [4, 5]\n")
    arguments = [*command.split(), "--training.max_updates=100000", "--training.evaluate_every=20"]
    program = f"import sys; from sgrnn.cli import main; sys.argv = {['sgrnn', *arguments]!r}; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as training:  # fmt: skip
        assert training.stdout is not None
        assert training.stderr is not None
        training.stdout.read(10)
        training.stdout.close()
        said = training.stderr.read().decode()
    assert training.returncode == 130
    assert re.search(r"^nobody reads standard output any more: stopped.*; go on with: sgrnn ", said, re.MULTILINE)
    (checkpoints,) = (folder / "mine").rglob("checkpoints")
    assert latest_checkpoint(checkpoints) is not None


def test_a_standard_output_that_takes_nothing_is_said_to_be_that_one(folder: Path) -> None:
    program = "import sys; from sgrnn.cli import main; sys.argv = ['sgrnn', 'train', 'tiny.yaml']; main()"
    with open(os.devnull, "rb") as for_reading:
        ended = subprocess.run([sys.executable, "-c", program], cwd=folder, stdout=for_reading, stderr=subprocess.PIPE,
                               check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    assert ended.stderr.decode() == "sgrnn: cannot write to standard output: Bad file descriptor\n"
    assert ended.returncode == 2


def test_a_view_that_cannot_be_printed_fails_alone() -> None:
    class Full(StringIO):  # no file of the system's either
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    console, seen_by_others = PlainConsole(), list[dict[str, Any]]()
    console.file = Full()
    views = Views([lambda record: console.print(record), seen_by_others.append])
    for update in range(3):
        views({"update": update})
    with pytest.raises(InputError, match=r"^cannot write to standard output: No space left on device$"):
        views.require_none_failed()
    assert len(seen_by_others) == 3


def test_names_between_colons_are_no_emoji(sgrnn: Commands, foreign: Path) -> None:
    (foreign / "texts.txt").write_text("a :heart: b\n" * 2000)
    run = "r:x:1"
    asked = ("--sample.prompt=:heart:", "--training.max_updates=3")
    output = sgrnn.well("train", "r.yaml", "--run", run, *asked)
    assert output.startswith(f"training {run}: ")
    assert f"the run lies in {run}: " in output
    assert ":heart: " in output, "the sample"
    assert run in table_in(sgrnn.well("compare", run))
    assert sgrnn.well("report", run).endswith(f"not diagnosed yet: sgrnn diagnose {run}\n")
    assert f"metrics: {run}/" in sgrnn.well("diagnose", run, "--horizon", 6, "--spans", 4)
    Path(":x:.txt").write_text("a :heart: b\n")
    assert sgrnn.well("evaluate", run, "--text", ":x:.txt").startswith(":x:.txt: ")


def test_a_terminal_that_is_not_utf_8_shows_a_bar(foreign: Path) -> None:
    lines = seen(foreign, "train", "r.yaml", "--run", "mine", encoding="ascii")
    text = "\n".join(lines)
    assert "validation perplexity" in text
    assert text.isascii()
