"""The run folder: made once, opened again, its record kept clean."""

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from sgrnn.errors import InputError
from sgrnn.training.about import keep_score, read_scores
from sgrnn.training.lock import locked
from sgrnn.training.run import Run, free_folder

from .tiny import Training

Start = Callable[..., Training]


def test_a_run_that_was_created_opens_as_it_was(start: Start) -> None:
    run = start("run").run
    opened = Run.open(run.folder)
    assert opened.recipe == run.recipe
    assert opened.tokenizer is not None
    assert run.tokenizer is not None
    assert opened.tokenizer.digest == run.tokenizer.digest
    assert list(opened.records()) == []


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(start: Start, trained: Training) -> None:
    training = trained
    files = {path: path.read_bytes() for path in training.run.folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"run already holds a run: go on with `sgrnn resume .*run`, or name another"):
        start("run", "--model.hidden_size=3")
    assert {path: path.read_bytes() for path in training.run.folder.rglob("*") if path.is_file()} == files


def test_a_folder_that_cannot_be_made_is_refused(start: Start, folder: Path) -> None:
    (folder / "file").write_text("in the way")
    for name in ("file", "file/below"):
        with pytest.raises(InputError, match=rf"cannot create the run folder .*{name}.*; name another with --run"):
            start(name)


def test_a_folder_without_a_run_or_with_a_damaged_one_is_refused(start: Start) -> None:
    run = start("run").run
    (run.folder / "recipe.yaml").write_text("")
    with pytest.raises(InputError, match=r"recipe\.yaml: a recipe is a mapping"):
        Run.open(run.folder)
    (run.folder / "recipe.yaml").write_text("model: {}\n")
    with pytest.raises(InputError, match=r"a recipe learns either a text \(data\) or a task \(task\), got neither"):
        Run.open(run.folder)
    (run.folder / "recipe.yaml").unlink()
    with pytest.raises(InputError, match=r"holds no run: expected .*recipe\.yaml"):
        Run.open(run.folder)
    with pytest.raises(InputError, match=re.escape(f"{run.folder / 'nowhere'} holds no run")):
        Run.open(run.folder / "nowhere")


def test_a_missing_or_damaged_tokenizer_is_named(start: Start) -> None:
    run = start("run").run
    path = run.folder / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace('"a"', '"z"'))
    with pytest.raises(InputError, match=r"tokenizer\.json is damaged"):
        Run.open(run.folder)
    path.unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json does not exist"):
        Run.open(run.folder)


def test_records_end_where_a_kill_cut_them_and_are_forgotten_after_a_checkpoint(start: Start) -> None:
    run = start("run").run
    records = [{"update": update, "loss": update / 3} for update in range(1, 4)]
    for tail in (b'{"update": 3, "lo', b"\xff\xfe\x00", b"\n\n", b""):
        (run.folder / "metrics.jsonl").unlink(missing_ok=True)
        for record in records:
            run.log(record)
        with (run.folder / "metrics.jsonl").open("ab") as file:
            file.write(tail)
        assert list(run.records()) == records
        run.forget_after(2)
        lines = (run.folder / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == records[:2]


def test_a_damaged_record_before_the_last_is_refused_and_loses_nothing(start: Start) -> None:
    run = start("run").run
    path = run.folder / "metrics.jsonl"
    for line in ("damaged", "5", "{}", '["update"]', '{"update": "two"}', '{"update": 2, "valid_loss": "2.5"}'):
        path.write_text(f'{{"update": 1}}\n{line}\n{{"update": 3}}\n')
        before = path.read_bytes()
        for read in (lambda: list(run.records()), lambda: run.forget_after(3)):
            with pytest.raises(
                InputError, match=r"metrics\.jsonl:2 is damaged: .*; restore the file from a copy, or remove"
            ):
                read()
        assert path.read_bytes() == before


def test_a_folder_that_nobody_may_write_to_is_not_said_to_be_full() -> None:
    with pytest.raises(InputError, match=r"^cannot lock /sys/lock: .*; allow writing there$"), locked(Path("/sys")):
        pass


def test_what_to_do_depends_on_why_it_cannot_be_written(start: Start) -> None:
    run = start("run").run
    allow, free = "allow writing there", "free disk space"
    for number, advice in ((errno.EACCES, allow), (errno.EROFS, allow), (errno.ENOSPC, free)):
        with pytest.raises(InputError, match=rf"{advice} and go on with `sgrnn resume"), run.writing("metrics.jsonl"):
            raise OSError(number, os.strerror(number))
        with pytest.raises(InputError, match=rf"; {advice}$"), run.writing("scores.json", training=False):
            raise OSError(number, os.strerror(number))


def test_new_runs_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert free_folder("mine") == Path("runs/mine-1")
    for number in (1, 2, 4):
        (tmp_path / "runs" / f"mine-{number}").mkdir(parents=True)
    assert free_folder("mine") == Path("runs/mine-3")
    assert free_folder("other") == Path("runs/other-1")


def test_a_run_of_before_targets_ran_the_model_ahead_and_goes_on_so(start: Start) -> None:
    run = start("run", "--gradient.kind=synthetic", "--gradient.ahead=null").run
    path = run.folder / "recipe.yaml"
    text = path.read_text("utf-8")
    assert Run.open(run.folder).recipe.gradient.ahead is None  # pyright: ignore
    path.write_text(re.sub(r"  ahead:.*\n", "", text), "utf-8")
    assert Run.open(run.folder).recipe.gradient.ahead == "model"  # pyright: ignore


def test_scores_that_are_kept_at_the_same_time_are_all_kept(start: Start) -> None:
    run = start("run").run

    def keep(number: int) -> None:
        for each in range(10):
            keep_score(run, f"split-{number}-{each}", 1, {"loss": 1.0})

    threads = [Thread(target=keep, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_scores(run)) == 30
