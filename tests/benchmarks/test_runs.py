"""Benchmarks train in processes of their own, which end when the benchmark does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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
