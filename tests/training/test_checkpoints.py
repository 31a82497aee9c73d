"""Checkpoints: whole or not there, refused when damaged or foreign, and never executed."""

import json
import pickle
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from sgrnn.config.build.model import build_model
from sgrnn.data.atomic import bytes_digest, file_digest
from sgrnn.errors import InputError
from sgrnn.training.checkpoints import best_checkpoint, latest_checkpoint, save_checkpoint

from .tiny import Training, same

Start = Callable[..., Training]
FILES = ("model.safetensors", "state.pt", "recipe.yaml", "progress.json")


def folder_of(training: Training) -> Path:
    return training.run.checkpoints / "update-000000004"


def edit_progress(training: Training, **changes: Any) -> None:
    """Edit progress.json and make its digest match, as an attacker or another program would."""
    path = folder_of(training) / "progress.json"
    record = json.loads(path.read_text()) | changes
    del record["digest"]
    record["digest"] = bytes_digest(json.dumps(record).encode())
    path.write_text(json.dumps(record))


@contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    """Let the operating system refuse to write more than this to a file, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_flipped_bit_is_noticed_wherever_it_is(trained: Training) -> None:
    for name, place in zip(FILES, (0.0, 0.37, 0.99, 0.5), strict=True):
        path = folder_of(trained) / name
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[int(place * len(content))] ^= 1
        path.write_bytes(flipped)
        for find in (latest_checkpoint, best_checkpoint):
            with pytest.raises(InputError, match=r"update-000000004 is (damaged|no checkpoint of this version)"):
                find(trained.run.checkpoints)
        with pytest.raises(InputError, match=r"update-000000004"):
            trained()
        path.write_bytes(content)


def test_a_missing_file_is_named(trained: Training) -> None:
    for name in FILES:
        content = (folder_of(trained) / name).read_bytes()
        (folder_of(trained) / name).unlink()
        with pytest.raises(InputError, match=rf"damaged: {name}.*restore it from a copy"):
            latest_checkpoint(trained.run.checkpoints)
        (folder_of(trained) / name).write_bytes(content)


RUBBISH = (
    [b"", b"\x00\xff\xfe", b"[]", b"3", b"null", b'"sgrnn checkpoint 1"', b"{}", b'{"format": "other 7"}',
     b'{"format": "sgrnn checkpoint 1"}', b'{"format": "sgrnn checkpoint 1", "files": 3, "digest": null}']
)  # fmt: skip


def test_rubbish_in_progress_is_refused(trained: Training) -> None:
    for rubbish in RUBBISH:
        (folder_of(trained) / "progress.json").write_bytes(rubbish)
        with pytest.raises(
            InputError, match=r"is damaged|is no checkpoint of this version of sgrnn: expected the format 'sgrnn check"
        ):
            latest_checkpoint(trained.run.checkpoints)


def test_a_damaged_checkpoint_can_be_removed_to_go_on_from_the_one_before(start: Start, whole: Training) -> None:
    training = start("run")
    training(9)  # the end of an epoch, and the best
    training(10)
    assert training.latest == 10
    (training.run.checkpoints / "update-000000010" / "state.pt").unlink()
    with pytest.raises(InputError, match="remove its folder to go on from the one before"):
        training()
    for path in (training.run.checkpoints / "update-000000010").iterdir():
        path.unlink()
    (training.run.checkpoints / "update-000000010").rmdir()
    training()
    assert same(training.saved, whole.saved)
    assert training.metrics == whole.metrics


class Bomb:
    """What a pickle can do when it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_state_with_matching_digest_is_not_executed(trained: Training, tmp_path: Path) -> None:
    sign = tmp_path / "executed"
    torch.save({"estimator": Bomb(sign)}, folder_of(trained) / "state.pt")
    pickle.loads(pickle.dumps(Bomb(sign)))
    assert sign.exists(), "the bomb is a real one"
    sign.unlink()
    digests = {name: file_digest(folder_of(trained) / name) for name in FILES[:3]}
    edit_progress(trained, files=digests)
    assert latest_checkpoint(trained.run.checkpoints) is not None, "the digests do match"
    with pytest.raises(InputError, match=r"state\.pt cannot be read"):
        trained()
    assert not sign.exists()


def test_parameters_that_do_not_fit_the_recipe_are_refused(trained: Training, start: Start) -> None:
    found = latest_checkpoint(trained.run.checkpoints)
    assert found is not None
    for change in ("--model.hidden_size=13", "--model.num_layers=2", "--model.core=gru"):
        recipe = start(change, change).run.recipe
        with pytest.raises(InputError, match=r"model\.safetensors does not fit the model of the recipe"):
            found.load_model(build_model(recipe, trained.files.vocabulary_size))


def test_a_state_of_other_parts_is_refused(trained: Training) -> None:
    torch.save({"estimator": {}, "optimizer": {}}, folder_of(trained) / "state.pt")
    edit_progress(trained, files={name: file_digest(folder_of(trained) / name) for name in FILES[:3]})
    with pytest.raises(InputError, match=r"state\.pt .*written by another version"):
        trained()


def test_a_folder_without_checkpoints_holds_none(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        assert latest_checkpoint(folder) is None
        assert best_checkpoint(folder) is None


def test_a_folder_that_cannot_be_read_is_not_one_without_checkpoints(trained: Training) -> None:
    folder = trained.run.checkpoints
    before = (trained.run.folder / "metrics.jsonl").read_bytes()
    folder.rename(folder.with_name("aside"))
    folder.touch()  # barred to everyone, the superuser too
    for read in (latest_checkpoint, best_checkpoint):
        with pytest.raises(InputError, match=r"^cannot read the checkpoints in .*: Not a directory; "):
            read(folder)
    with pytest.raises(InputError, match=r"^cannot read the checkpoints in "):
        trained()
    folder.unlink()
    folder.symlink_to("nowhere")  # a disk that is not there
    with pytest.raises(InputError, match=r"^cannot read the checkpoints in .*: No such file or directory; "):
        trained()
    assert (trained.run.folder / "metrics.jsonl").read_bytes() == before, "training did not begin anew"


def test_what_a_killed_process_left_aside_is_no_checkpoint_and_goes(trained: Training, whole: Training) -> None:
    training = trained
    aside = training.run.checkpoints / ".update-000000006"
    aside.mkdir()
    (aside / "model.safetensors").write_bytes(b"half")
    assert training.latest == 4
    training(7)
    assert not aside.exists()
    training()
    assert same(training.saved, whole.saved)


def test_a_full_disk_leaves_the_earlier_checkpoint_and_says_how_to_go_on(trained: Training) -> None:
    model = build_model(trained.run.recipe, trained.files.vocabulary_size)
    sizes = {path.name: path.stat().st_size for path in folder_of(trained).iterdir()}
    assert sizes["recipe.yaml"] < 3_000 < sizes["model.safetensors"] < 12_000 < sizes["state.pt"]
    before = trained.saved
    for limit in (100, 3_000, 12_000, 20_000):
        refused = pytest.raises(InputError, match=r"cannot write .*update-000000005: .*sgrnn resume .*run`")
        with refused, file_size_limit(limit):
            save_checkpoint(
                trained.run.checkpoints,
                model,
                {"filler": torch.zeros(5_000)},
                "recipe\n" * 500,
                {"update": 5, "best_update": None},
            )
        assert [path.name for path in trained.run.checkpoints.iterdir()] == ["update-000000004"]
        assert same(trained.saved, before)


def test_a_disk_that_fills_up_while_training_loses_nothing(trained: Training, whole: Training) -> None:
    training = trained
    with file_size_limit(10_000), pytest.raises(InputError, match="nothing saved before is lost: free disk space"):
        training()
    assert training.latest == 4
    training()
    assert training.metrics == whole.metrics
    assert same(training.saved, whole.saved)
