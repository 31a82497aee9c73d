"""Runs are trained once, in processes that end when the command does."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sgrnn.config.files import parse_recipe
from sgrnn.errors import InputError
from sgrnn.training.train_all import train_all

RECIPE = """
data: {corpus: text, train: train.txt, valid: train.txt, test: train.txt, tokenizer: {kind: character}}
model: {core: lstm, hidden_size: 4}
gradient: {kind: truncated, window: 3}
optimizer: {kind: sgd, learning_rate: RATE}
training: {epochs: 1, max_updates: 4, batch_size: 2, span: 6, log_every: 1, device: cpu, clip: null}
"""


def test_runs_are_trained_once_in_their_folders_a_diverged_one_does_not_stop_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.txt").write_text("what is said here is said again and again\n" * 5)
    monkeypatch.setenv("SGRNN_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    recipes = {
        name: parse_recipe(RECIPE.replace("RATE", rate), name)
        for name, rate in {"wild": "1e38", "tame": "1e-2"}.items()
    }
    found = dict(train_all(recipes, tmp_path / "out"))
    assert found["wild"] == []
    assert found["tame"][-1]["update"] == 4
    again = dict(train_all({"tame": recipes["tame"]}, tmp_path / "out"))
    assert again["tame"] == found["tame"]
    with pytest.raises(InputError, match=r"wild holds a run of another recipe: name another folder with --out$"):
        next(train_all({"wild": recipes["tame"]}, tmp_path / "out"))


SCRIPT = """
import os, signal, time
from pathlib import Path

from sgrnn.training.train_all import processes


def train(name):
    Path(name).write_text(str(os.getpid()))
    time.sleep(600)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
    with processes(jobs=2, threads=1) as pool:
        list(pool.map(train, ["first", "second"]))
"""


def wait_until(what: str, found: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not found():
        assert time.monotonic() < until, f"not {what} after a minute"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_benchmark_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "benchmark.py").write_text(SCRIPT)
    files = [tmp_path / "first", tmp_path / "second"]
    command = [sys.executable, "benchmark.py"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as running:
        try:
            wait_until("training", lambda: all(file.exists() and file.read_text() for file in files))
            running.send_signal(number)
            assert running.wait(timeout=60) != 0
        finally:
            running.kill()
    for file in files:
        wait_until("ended", lambda file=file: not Path(f"/proc/{file.read_text()}").exists())
