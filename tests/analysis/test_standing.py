"""How far a run has come, as its folder tells."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up import make_records, make_run
from training.tiny import Training

from sgrnn.analysis.standing import standing_of
from sgrnn.errors import InputError
from sgrnn.training.lock import is_locked, locked
from sgrnn.training.run import Run
from sgrnn.training.running_metrics import Diverged


def test_a_run_is_complete_stopped_or_still_training(tmp_path: Path) -> None:
    resume = "go on with `sgrnn resume "
    for name, overrides, records, text in (
        ("complete", [], make_records(), "complete, 4 updates"),
        ("short", ["--training.max_updates=3"], make_records()[:3], "complete, 3 updates"),
        ("stopped", ["--training.epochs=1000"], make_records(), f"stopped, update 4 of 2,000: {resume}"),
        ("new", [], [], f"stopped, nothing logged yet: {resume}"),
        ("bare", [], [{"update": 2}], f"stopped, nothing logged yet: {resume}"),
        ("capped", ["--training.max_updates=9"], [], f"stopped, update 0 of 9: {resume}"),
    ):
        run = make_run(tmp_path / name, records, *overrides)
        assert standing_of(run).text.startswith(text)
        assert standing_of(run).complete == text.startswith("complete")
        with locked(run.folder):
            standing = standing_of(run)
            training = text.replace("complete, 4 updates", "update 4 of 4").replace(
                "complete, 3 updates", "update 3 of 3"
            )
            assert standing.text == f"still training, {training.removeprefix('stopped, ').partition(':')[0]}"
            assert not standing.complete


def test_a_run_beyond_the_end_that_its_recipe_has_now_is_complete(tmp_path: Path) -> None:
    run = make_run(tmp_path / "shortened", make_records(), "--training.max_updates=3")
    assert standing_of(run).text == "complete, 4 updates"


def test_a_run_out_of_patience_is_complete(tmp_path: Path) -> None:
    scores = [{"update": 2 * epoch, "epoch": float(epoch), "seconds": 1.0, "valid_loss": loss}
              for epoch, loss in ((1, 2.0), (2, 1.0), (3, 1.5), (4, 1.2))]  # fmt: skip
    run = make_run(tmp_path / "mine", scores, "--training.epochs=9", "--training.patience=2")
    assert standing_of(run).text == "complete, 8 updates"
    run = make_run(tmp_path / "going", scores[:3], "--training.epochs=9", "--training.patience=2")
    assert standing_of(run).text.startswith("stopped, update 6 of 18")


def test_a_run_that_diverged_says_so_until_it_gets_past(start: Callable[..., Training]) -> None:
    rate = "--optimizer.learning_rate="
    training = start("run", "--training.max_updates=4", "--gradient.kind=bptt", "--optimizer.kind=sgd", f"{rate}1e-3")
    training(stop_after=2)
    for last in (4, 3):  # at the end of training, and before
        wild = Run.open(training.run.folder, [f"{rate}1e38", f"--training.log_every={last}"])
        for _ in range(2):
            with pytest.raises(Diverged) as error:
                Training(wild, training.files)()
            again = pickle.loads(pickle.dumps(error.value))  # as a pool of processes hands it on
            assert (str(again), again.update) == (str(error.value), error.value.update)
            assert f" at update {error.value.update}: training has diverged" in str(error.value)
            standing = standing_of(wild)
            assert (standing.text, standing.complete) == (f"diverged at update {error.value.update}", False)
            assert [row["diverged"] for row in wild.records() if "diverged" in row] == [error.value.update]
    with locked(wild.folder):
        assert standing_of(wild).text.startswith("still training, ")
    tame = Training(Run.open(training.run.folder, [f"{rate}1e-3"]), training.files)
    tame(stop_after=3)
    assert standing_of(tame.run).text.startswith("stopped, update ")
    tame()
    assert standing_of(tame.run).text == "complete, 4 updates"


def test_a_glance_at_the_lock_leaves_it_as_it_was(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert not (tmp_path / "lock").exists()
    with locked(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(InputError, match="is being trained in by another process"), locked(tmp_path):
            pass
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        pass
