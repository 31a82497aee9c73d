"""Runs that are killed, interrupted or asked to end go on to the very run that was never stopped."""

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sgrnn.training.checkpoints import latest_checkpoint

from .commands import Commands, Running

LONG = ("--training.max_updates=120",)


def train(sgrnn: Commands, name: str, *overrides: str) -> Running:
    return sgrnn.process("train", "tiny.yaml", "--run", name, *LONG, *overrides)


_whole: list[dict[str, Any]] = []


@pytest.fixture
def whole(sgrnn: Commands) -> dict[str, Any]:
    """What the run that was never stopped leaves behind."""
    if not _whole:
        sgrnn.well("train", "tiny.yaml", "--run", "whole", *LONG)
        _whole.append(left_behind(Path("whole")))
    return _whole[0]


def left_behind(run: Path) -> dict[str, Any]:
    """The final model and the record, without what a clock says."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        record.pop("seconds")
        record.pop("updates_per_second", None)
    checkpoints = {
        path.parent.name: path.read_bytes() for path in (run / "checkpoints").glob("update-*/model.safetensors")
    }
    assert records[-1]["update"] == 120
    assert "update-000000120" in checkpoints
    return {"records": records, "checkpoints": checkpoints}


def wait_until(process: Running, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.alive, f"it ended by itself: {process.wait()}"
        assert time.monotonic() < end, "it never came to this"
        time.sleep(0.0005)


def logged(run: Path) -> int:
    """Lines of the record so far."""
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_while_saving(process: Running, checkpoints: Path) -> None:
    """Kill a process at a moment at which a checkpoint is half written."""

    def caught() -> bool:
        if not any(checkpoints.glob(".update-*")):
            return False
        process.send(signal.SIGSTOP)
        if any(checkpoints.glob(".update-*")):
            return True
        process.send(signal.SIGCONT)
        return False

    wait_until(process, caught)
    process.send(signal.SIGKILL)
    process.wait()
    assert any(checkpoints.glob(".update-*")), "it was half written"


def test_killed_at_any_moment_it_resumes_to_the_same_end(sgrnn: Commands, whole: dict[str, Any]) -> None:
    run = Path("killed")
    draw = random.Random()
    process = train(sgrnn, "killed", "--training.checkpoint_every=4")
    for moment in ("saving", "any", "saving", "any"):
        before = logged(run)
        wait_until(process, lambda before=before: logged(run) >= before + 4)
        if moment == "saving":
            kill_while_saving(process, run / "checkpoints")
        else:
            time.sleep(draw.uniform(0, 0.1))
            process.send(signal.SIGKILL)
        assert process.wait().status == -signal.SIGKILL
        assert latest_checkpoint(run / "checkpoints") is not None, "whole, whenever it was killed"
        process = sgrnn.process("resume", "killed")
    ended = process.wait()
    assert (ended.status, ended.err) == (0, "")
    assert "validation perplexity" in ended.out
    assert left_behind(run) == whole


def test_ctrl_c_and_terminate_stop_cleanly_say_how_to_go_on_and_leave_no_trace(
    sgrnn: Commands, whole: dict[str, Any]
) -> None:
    run = Path("stop ped")
    process = train(sgrnn, "stop ped")
    for number in (signal.SIGINT, signal.SIGTERM):
        before = logged(run)
        wait_until(process, lambda before=before: logged(run) >= before + 4)
        process.send(number)
        ended = process.wait()
        assert (ended.status, ended.err) == (130, "")
        assert ended.out.splitlines()[-1] == "stopped and saved; go on with: sgrnn resume 'stop ped'"
        assert latest_checkpoint(run / "checkpoints") is not None
        process = sgrnn.process("resume", "stop ped")
    ended = process.wait()
    assert (ended.status, ended.err) == (0, "")
    assert left_behind(run) == whole
