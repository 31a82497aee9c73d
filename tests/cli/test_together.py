"""`sgrnn train` in several processes, as torchrun starts them: one run, one voice, and an end whoever dies."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sgrnn.training.checkpoints import latest_checkpoint
from sgrnn.training.run import Run

from .commands import Commands, Outcome, Running
from .test_stopping import logged, wait_until

LONG = ("--training.max_updates=100000", "--training.checkpoint_every=20", "--training.log_every=5")


def outcomes(processes: list[Running]) -> list[Outcome]:
    return [process.wait() for process in processes]


def begin(sgrnn: Commands, name: str, *overrides: str) -> list[Running]:
    """Two processes in the midst of a run."""
    processes = sgrnn.together(2, "train", "tiny.yaml", "--run", name, *LONG, *overrides)
    wait_until(processes[0], lambda: logged(Path(name)) > 30)
    return processes


def shorten(name: str) -> int:
    """Let a run end ten updates after its latest checkpoint, which is of the update that is returned."""
    checkpoint = latest_checkpoint(Path(name) / "checkpoints")
    assert checkpoint is not None
    path = Path(name) / "recipe.yaml"
    path.write_text(path.read_text().replace("100000", str(checkpoint.progress["update"] + 10)))
    return checkpoint.progress["update"]


def test_torchrun_trains_one_run(sgrnn: Commands) -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text("utf-8")
    (line,) = re.findall(r"^ +torchrun (.*?)  +# ", page, re.MULTILINE)
    assert line == "--nproc-per-node=2 -m -- sgrnn train ptb-word-small --run runs/two"
    arguments = line.replace("ptb-word-small", "tiny.yaml").split()
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", *arguments],
        cwd=sgrnn.folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(
        "training runs/two: text, 208 tokens, vocabulary 10, estimator synthetic, 2 processes\n"
    )
    assert len(re.findall("validation perplexity", ended.stdout)) == 1
    assert [folder.name for folder in Path("runs").iterdir()] == ["two"]
    records = list(Run.open(Path("runs/two")).records())
    assert [record["update"] for record in records] == [3, 6, 9, 9, 10, 10, 10], "one process writes"
    assert sgrnn.well("evaluate", "runs/two", "--split", "valid")


def test_ctrl_c_to_any_stops_all_at_the_same_update_and_says_once_how_to_go_on(sgrnn: Commands) -> None:
    processes = begin(sgrnn, "stopped")
    processes[1].send(signal.SIGINT)
    leading, other = outcomes(processes)
    assert (leading.status, leading.err, other) == (130, "", Outcome(130, "", ""))
    assert leading.out.splitlines()[-1] == (
        "stopped and saved; go on with: torchrun --nproc-per-node=2 -m sgrnn resume stopped"
    )
    checkpoint = latest_checkpoint(Path("stopped") / "checkpoints")
    assert checkpoint is not None
    shorter = f"--training.max_updates={checkpoint.progress['update'] + 10}"
    ended = outcomes(sgrnn.together(2, "resume", "stopped", shorter))
    assert [(outcome.status, outcome.err) for outcome in ended] == [(0, ""), (0, "")]
    assert [bool(outcome.out) for outcome in ended] == [True, False]
    assert "on: training.max_updates" in ended[0].out
    assert Run.open(Path("stopped")).recipe.training.max_updates == checkpoint.progress["update"] + 10
    refused = outcomes(sgrnn.together(2, "resume", "stopped", "--training.span=3"))
    assert [(outcome.status, bool(outcome.err)) for outcome in refused] == [(2, True), (2, False)]


def test_when_the_first_dies_the_other_ends_with_a_message_and_the_checkpoint_is_whole(sgrnn: Commands) -> None:
    dead = 0  # the process that writes the checkpoints
    processes = begin(sgrnn, "lost")
    processes[dead].send(signal.SIGKILL)
    left = processes[1 - dead].wait()
    assert processes[dead].wait().status == -signal.SIGKILL
    saved = shorten("lost")
    assert left.status == 2
    assert re.fullmatch(
        rf"sgrnn: process {1 - dead} has lost another process of the run, which has ended or does not answer "
        rf"\(.*\); the latest checkpoint is of update {saved}; "
        r"go on with: torchrun --nproc-per-node=2 -m sgrnn resume lost\n",
        left.err,
    )
    assert "GLHF" not in left.err
    assert "validation perplexity" in sgrnn.well("resume", "lost")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--training.batch_size=5",), "training.batch_size must be a multiple of the number of processes, 2, got 5"),
        (("--gradient.true_share=0.5", "--model.dropout=0"), "gradient.true_share draws rows of one batch, so that"),
        (("--gradient.windw=5",), "command line: gradient.windw is not a field; did you mean gradient.window?"),
        (("--optimizer.kind=sgd", "--optimizer.learning_rate=1e30"), "training has diverged"),
    ],
)
def test_a_mistake_is_reported_once(sgrnn: Commands, arguments: tuple[str, ...], message: str) -> None:
    leading, other = outcomes(sgrnn.together(2, "train", "tiny.yaml", *arguments))
    assert (leading.status, other) == (2, Outcome(2, "", ""))
    assert leading.err.startswith("sgrnn: ")
    assert message in leading.err
    assert len(leading.err.splitlines()) == 1
    if "diverged" not in message:
        assert not Path("runs").exists()


def test_no_two_commands_train_in_one_folder(sgrnn: Commands) -> None:
    running = sgrnn.process("train", "tiny.yaml", "--run", "taken", *LONG)
    wait_until(running, lambda: logged(Path("taken")) > 10)
    message = (
        "taken is being trained in by another process: wait until that has ended, or name another folder with --run"
    )
    assert sgrnn.refused("resume", "taken") == message
    assert [outcome.status for outcome in outcomes(sgrnn.together(2, "resume", "taken"))] == [2, 2]
    running.send(signal.SIGKILL)
    running.wait()
    shorten("taken")
    assert sgrnn("resume", "taken").status == 0, "the lock went with the process"
