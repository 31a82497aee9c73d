"""Loggers: each metric at its update, once, however often the run is killed and resumed; real services' own files."""

import json
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, final

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sgrnn.errors import InputError
from sgrnn.training import loop
from sgrnn.training.loggers.opening import open_loggers, require_loggers
from sgrnn.training.loggers.tensorboard import TensorBoard
from sgrnn.training.loggers.tracker import Tracker

from .tiny import Training

Start = Callable[..., Training]
Points = dict[str, dict[int, Any]]

_OFTEN = ("--training.log_every=1", "--training.checkpoint_every=4")
_SQLALCHEMY = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning")


def train(training: Training, stop: Callable[[], bool] = lambda: False) -> None:
    """Train a run to its end, or until it is stopped, with the loggers of its recipe."""
    with open_loggers(training.run) as loggers:

        def report(record: dict[str, Any]) -> None:
            for logger in loggers:
                logger(record)

        loop.train(training.run, training.problem, report, stop)


def die_at(update: int, training: Training) -> Callable[[], bool]:
    """End a training in the way of a kill after an update, some of them after the latest checkpoint."""

    def stop() -> bool:
        if len([record for record in training.run.records() if "loss" in record]) == update:
            raise KeyboardInterrupt
        return False

    return stop


def kill_and_resume(training: Training) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(training, die_at(7, training))
    assert training.latest == 4, "updates 5 to 7 are made twice"
    train(training)


def logged(training: Training) -> Points:
    """What the run's record holds: by metric, value by update."""
    found: Points = {}
    for record in training.run.records():
        for name in record.keys() - {"update", "epoch", "seconds"}:
            found.setdefault(name, {})[record["update"]] = pytest.approx(record[name], rel=1e-6)
    assert found.keys() >= {"loss", "target_r2", "shrinkage", "cell_norm", "valid_perplexity", "learning_rate"}
    assert set(found["loss"]) == set(range(1, 11))
    return found


def but_for_the_clock(points: Points) -> Points:
    """Leave out speeds, which the second making of an update does not share with the first."""
    return {name: values for name, values in points.items() if name != "updates_per_second"}


def scalars(folder: Path) -> Points:
    """What TensorBoard shows; a step that shows twice fails the test."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: once((event.step, event.value) for event in events.Scalars(tag)) for tag in events.Tags()["scalars"]}


def once(points: Any) -> dict[int, float]:
    """Return points as values by step, each of which must be there once."""
    points = list(points)
    assert len(dict(points)) == len(points), points
    return dict(points)


def chunks_of(path: Path) -> Iterator[bytes]:
    """Records of a file of W&B: after 7 bytes LevelDB's log, blocks of 32 KiB in which a record may come in parts."""
    content, place, parts = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while place + 7 <= len(content):
        left = 0x8000 - place % 0x8000
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def rows_of(run: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and config in the files of W&B, those of all parts of a run one after the other, as `wandb sync` goes."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

    rows: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    for path in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        for content in chunks_of(path):
            record = Record.FromString(content)
            if record.WhichOneof("record_type") == "history":
                items = {
                    item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }
                rows.append(items)
            elif record.WhichOneof("record_type") == "run":
                about |= {name: getattr(record.run, name) for name in ("run_id", "project", "display_name")}
            for config in (record.config, record.run.config):
                for item in config.update:
                    about["/".join([item.key, *item.nested_key]).strip("/")] = json.loads(item.value_json)
    return rows, about


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """W&B writes files alone, and reads none of the user's; it has read its environment once and for all."""
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    yield
    wandb.teardown()


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """MLflow's own database, in a folder of the test's."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_tensorboard_holds_what_was_logged_once_even_after_a_kill_and_a_resumption(start: Start) -> None:
    training = start("run", *_OFTEN)
    kill_and_resume(training)
    assert scalars(training.run.folder / "tensorboard") == logged(training)


def test_events_are_on_the_disk_as_soon_as_they_are_logged(start: Start) -> None:
    training = start("run")
    with TensorBoard(training.run) as board:
        board({"update": 1, "epoch": 0.1, "seconds": 1.0, "loss": 2.0})
        assert scalars(training.run.folder / "tensorboard") == {"loss": {1: 2.0}}


def test_without_loggers_the_record_is_all_there_is(start: Start) -> None:
    training = start("run", "--training.loggers=[]")
    train(training)
    assert not {path.name for path in training.run.folder.iterdir()} & {"tensorboard", "wandb", "wandb.json"}


@pytest.mark.usefixtures("offline")
def test_weights_and_biases_has_one_run_with_each_metric_once(start: Start, tmp_path: Path) -> None:
    training = start("run", *_OFTEN, "--training.loggers=[wandb]")
    kill_and_resume(training)
    wandb.teardown()  # or its process may still be writing
    rows, about = rows_of(training.run.folder)
    assert len(list(training.run.folder.glob("wandb/offline-run-*"))) == 2
    found: Points = {}
    for row in rows:
        for name, value in row.items():
            if not name.startswith("_"):
                assert row["_step"] not in found.setdefault(name, {}), "once"
                found[name][row["_step"]] = value
    assert but_for_the_clock(found) == but_for_the_clock(logged(training))
    assert about["run_id"] == json.loads((training.run.folder / "wandb.json").read_text())["id"]
    assert (about["project"], about["display_name"]) == (tmp_path.name, "run")
    assert about["model"]["hidden_size"] == 12
    assert not (training.run.folder / "tensorboard").exists()


@_SQLALCHEMY
def test_mlflow_has_one_run_with_each_metric_once(start: Start, database: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    training = start("run", *_OFTEN, "--training.loggers=[mlflow]")
    kill_and_resume(training)
    client = MlflowClient(database)
    number = json.loads((training.run.folder / "mlflow.json").read_text())["id"]
    run = client.get_run(number)
    found = {
        name: once((each.step, each.value) for each in client.get_metric_history(number, name))
        for name in run.data.metrics
    }
    assert but_for_the_clock(found) == but_for_the_clock(logged(training))
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    experiment = client.get_experiment_by_name(tmp_path.name)
    assert experiment is not None
    assert [each.info.run_id for each in client.search_runs([experiment.experiment_id])] == [number]
    assert run.data.params["gradient.synthesizer.kind"] == "error"
    assert run.data.params == dict(training.run.recipe.fields_by_name())


@final
class Listener(Tracker):
    """A service in a list, which fails when it is told to."""

    kind, spoken, advice = "listener", "the listener", "listen"
    heard: ClassVar[dict[str, list[tuple[int, str]]]] = {}
    fails_at: ClassVar[int | None] = None
    can_say = False

    def open(self, known: str | None) -> str:
        name = known or f"session {len(self.heard)}"
        before = self.heard.setdefault(name, [])
        self._heard = before
        if known and self.can_say:
            self.first_wanted = max((update for update, _ in before), default=0) + 1
        return name

    def send(self, update: int, metrics: dict[str, float]) -> None:
        if update == self.fails_at:
            raise ConnectionError("gone away.\nFor good")
        self._heard += [(update, name) for name in metrics]

    def close(self, end: str) -> None:
        self.ended = end


@pytest.fixture(params=[False, True], ids=["told", "asked"])
def listener(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Listener]:
    """A service that cannot say what it has heard, and one that can."""
    monkeypatch.setattr(Listener, "heard", {})
    monkeypatch.setattr(Listener, "can_say", request.param)
    return Listener


def points_of(training: Training) -> list[tuple[int, str]]:
    return sorted((update, name) for name, values in logged(training).items() for update in values)


def test_a_service_that_fails_does_not_end_the_training_and_hears_the_rest_when_it_is_resumed(
    start: Start, listener: type[Listener], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = start("run", *_OFTEN)
    monkeypatch.setattr(listener, "fails_at", 3)
    with listener(training.run) as tracker:
        loop.train(training.run, training.problem, tracker)
    assert capsys.readouterr().err == (
        "the listener cannot be logged to: gone away; training goes on, metrics.jsonl holds everything, and `sgrnn "
        f"resume {training.run.folder}` logs the rest\n"
    )
    assert max(listener.heard["session 0"])[0] == 2
    monkeypatch.setattr(listener, "fails_at", None)
    for _ in range(2):
        with listener(training.run) as tracker:
            loop.train(training.run, training.problem, tracker)
        assert tracker.ended == "complete"
    assert list(listener.heard) == ["session 0"]
    assert sorted(listener.heard["session 0"]) == points_of(training)


def test_a_service_that_is_named_late_hears_everything(start: Start, listener: type[Listener]) -> None:
    training = start("run", *_OFTEN)
    with pytest.raises(KeyboardInterrupt):
        loop.train(training.run, training.problem, lambda record: None, die_at(7, training))
    for killed_at in (6, 9, None):
        with suppress(KeyboardInterrupt), listener(training.run) as tracker:
            stop = (lambda: False) if killed_at is None else die_at(killed_at, training)
            loop.train(training.run, training.problem, tracker, stop)
    assert sorted(listener.heard["session 0"]) == points_of(training)


def test_what_ends_a_training_is_told(start: Start, listener: type[Listener]) -> None:
    run = start("run").run
    for error, end in ((loop.Interrupted, "stopped"), (KeyboardInterrupt, "stopped"), (InputError, "failed")):
        tracker = listener(run)
        with pytest.raises(error), tracker:
            raise error
        assert tracker.ended == end


def test_a_service_that_cannot_be_reached_or_a_damaged_id_is_refused_before_training(
    start: Start, offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = start("run", "--training.loggers=[wandb]").run
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(InputError) as refused, open_loggers(run):
        pass
    message = str(refused.value)
    assert message.startswith(f"{run.folder}: Weights & Biases cannot be logged to: No API key configured. ")
    assert message.endswith(
        "; log in with `wandb login`, or set WANDB_MODE=offline, or train without wandb in training.loggers"
    )
    assert not (run.folder / "wandb.json").exists()
    for content in ("{", "[]", '{"id": 3}'):
        (run.folder / "wandb.json").write_text(content)
        with (
            pytest.raises(InputError, match=r"wandb\.json is damaged: .*; remove it to begin another run at Weights"),
            open_loggers(run),
        ):
            pass


def test_a_package_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require_loggers(["tensorboard", "wandb", "mlflow"])
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in ("wandb", "mlflow"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / name).mkdir()  # no package, but what a service leaves in the current folder
        with pytest.raises(InputError) as refused:
            require_loggers(["tensorboard", name])
        assert str(refused.value) == f"training.loggers: {name} is not installed; pip install 'sgrnn[{name}]'"
