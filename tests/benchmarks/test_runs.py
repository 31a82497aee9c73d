"""Benchmarks train in processes of their own, which end when the benchmark does, and keep a file for each result."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import runs

SCRIPT = """
import os, signal, time
from dataclasses import dataclass
from pathlib import Path

from runs import run_all


@dataclass
class Condition:
    name: str


def train(condition):
    Path(condition.name).write_text(str(os.getpid()))
    time.sleep(600)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
    list(run_all(train, [Condition("first"), Condition("second")], Path("out"), jobs=2))
"""


def wait_until(what: str, found: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not found():
        assert time.monotonic() < until, f"not {what} after a minute"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_benchmark_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "benchmark.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(runs.__file__).parent)}
    files = [tmp_path / "first", tmp_path / "second"]
    command = [sys.executable, "benchmark.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as running:
        try:
            wait_until("training", lambda: all(file.exists() and file.read_text() for file in files))
            running.send_signal(number)
            assert running.wait(timeout=60) != 0
        finally:
            running.kill()
    for file in files:
        wait_until("ended", lambda file=file: not Path(f"/proc/{file.read_text()}").exists())


@dataclass(frozen=True)
class Named:
    """What a benchmark runs, and has run, under a name."""

    name: str


def result_of(condition: Named) -> runs.Record:
    return {"value": len(condition.name)}


def test_results_are_kept_and_known(tmp_path: Path) -> None:
    one, other = Named("one"), Named("other")
    assert runs.known([one, other], tmp_path) == []
    assert list(runs.run_all(result_of, [one], tmp_path, jobs=1)) == [{"value": 3}]
    assert runs.known([other, one], tmp_path) == [one]
    (tmp_path / "one.json").write_text('{"value": 7}')  # which is not made again
    assert list(runs.run_all(result_of, [other, one], tmp_path, jobs=1)) == [{"value": 5}, {"value": 7}]
