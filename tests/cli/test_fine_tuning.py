"""`sgrnn train --model.start_from`: what is said, and that a killed beginning needs the other run no more."""

import signal
from pathlib import Path
from shutil import rmtree

from sgrnn.training.run import Run

from .commands import Commands, records_of
from .test_stopping import wait_until
from .test_training_commands import models_of

TEN = ("--training.max_updates=10", "--model.start_from=mine")


def test_a_run_says_what_it_starts_from_and_lives_without_it(sgrnn: Commands, mine: str) -> None:
    output = sgrnn.well("train", "tiny.yaml", "--run", "whole", *TEN)
    lines = output.splitlines()
    assert lines[0].startswith("training whole: text, 208 tokens, vocabulary 10")
    assert lines[1].startswith(f"starting from {Path(mine).resolve()}, update ")
    assert lines[1].endswith(": 10 tokens kept, 0 new, 0 dropped; the synthesizer taken over")
    assert records_of("whole")[0]["loss"] < records_of(mine)[0]["loss"]
    slow = sgrnn.process("train", "tiny.yaml", "--run", "killed", *TEN)
    wait_until(slow, lambda: Path("killed/start.safetensors").exists())
    slow.send(signal.SIGKILL)
    slow.wait()
    rmtree(mine)
    sgrnn.well("resume", "killed")
    assert models_of("killed") == models_of("whole")
    assert Run.open(Path("killed")).recipe == Run.open(Path("whole")).recipe
    assert "perplexity" in sgrnn.well("evaluate", "whole")
    assert sgrnn.well("generate", "whole", "--length", 5)


def test_a_model_that_does_not_fit_is_refused(sgrnn: Commands, mine: str) -> None:
    message = sgrnn.refused("train", "tiny.yaml", "--run", "new", *TEN, "--model.hidden_size=7", "--model.core=rnn")
    at = Path(mine).resolve()
    assert message.splitlines() == [
        f"model.core must be lstm, that of model.start_from {at}, got rnn",
        f"model.hidden_size must be 12, that of model.start_from {at}, got 7",
    ]
    sgrnn.well("train", "copy-synthetic", "--run", "task", "--training.max_updates=1")
    assert sgrnn.refused("train", "tiny.yaml", "--model.start_from=task") == (
        f"model.start_from must be a run on a text, got {Path('task').resolve()}, which learned a task"
    )
    assert not Path("new").exists()
    assert not Path("runs").exists()
