"""The command line within a folder, in this process and as a process of its own."""

import json
import multiprocessing
import os
import re
import signal
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import pytest
import torch
from together import environments

from sgrnn.cli import main


class Outcome(NamedTuple):
    """What a command left on its streams, and its exit status."""

    status: int
    out: str
    err: str


class Commands:
    """The command line within a folder."""

    def __init__(self, folder: Path, streams: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.folder, self._streams, self._patch = folder, streams, patch

    def __call__(self, *arguments: object) -> Outcome:
        """Run a command in this process, as the installed script `sgrnn` does."""
        self._patch.setattr(sys, "argv", ["sgrnn", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._streams.readouterr()
        assert isinstance(ended.value.code, int | None)
        return Outcome(ended.value.code or 0, out, err)

    def well(self, *arguments: object) -> str:
        """Run a command that must succeed; what it printed."""
        outcome = self(*arguments)
        assert (outcome.status, outcome.err) == (0, ""), outcome
        return outcome.out

    def refused(self, *arguments: object) -> str:
        """Run a command that must be refused with a message; the message."""
        outcome = self(*arguments)
        assert outcome.status == 2, outcome
        assert outcome.err.startswith("sgrnn: "), outcome
        return outcome.err.removeprefix("sgrnn: ").removesuffix("\n")

    def process(self, *arguments: object) -> "Running":
        """Begin a command as a process of its own in the folder."""
        return Running(self.folder, [str(argument) for argument in arguments], {})

    def together(self, size: int, *arguments: object) -> "list[Running]":
        """Begin a command in so many processes, as torchrun does."""
        return [Running(self.folder, [str(argument) for argument in arguments], told) for told in environments(size)]


class Running:
    """A command as a process of its own: forked from one that has imported torch, as it takes seconds to do so.

    Args:
        folder: the current folder of the process.
        arguments: of the command.
        told: environment variables.
    """

    def __init__(self, folder: Path, arguments: list[str], told: dict[str, str]) -> None:
        self._streams = Path(mkdtemp(dir=folder, prefix="streams-"))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["sgrnn.cli.app", "sgrnn.session", "torch._dynamo"])
        self._process = context.Process(target=_command, args=(folder, arguments, told, self._streams))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it is still there."""
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> Outcome:
        """Wait until it ends; a negative status is the signal that ended it."""
        self._process.join(120)
        assert self._process.exitcode is not None, "it hangs"
        return Outcome(self._process.exitcode, *((self._streams / name).read_text() for name in ("out", "err")))


def _command(folder: Path, arguments: list[str], told: dict[str, str], streams: Path) -> None:
    os.chdir(folder)
    os.environ.update(told)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(streams / name, os.O_WRONLY | os.O_CREAT), number)
    torch.set_num_threads(1)
    sys.argv = ["sgrnn", *arguments]
    main()


def records_of(run: str) -> list[dict[str, float]]:
    """The record of a run."""
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def table_in(output: str) -> dict[str, dict[str, str]]:
    """The cells of a printed table by row and heading; the parts that it comes in on a narrow screen side by side."""
    table: dict[str, dict[str, str]] = {}
    headings: list[str] = []
    for line in output.splitlines():
        if line[:1] in "┃│" and line:
            name, *cells = [cell.strip() for cell in re.split("[┃│]", line)[1:-1]]
            if line.startswith("┃"):
                headings = cells
            else:
                table.setdefault(name, {}).update(zip(headings, cells, strict=True))
    return table
