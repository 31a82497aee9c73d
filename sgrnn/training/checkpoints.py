"""Checkpoints: folders written under a temporary name and then renamed, so that each is whole or not there.

RUN/checkpoints/update-00001000/
    model.safetensors   the model, of averaged weights where the recipe asks for them
    state.pt            all else that training goes on from: optimizers, estimator, recurrent state, random generators
    recipe.yaml         the resolved recipe
    progress.json       where training stood, the format, and the digests of the other files and of itself
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from sgrnn.data.atomic import file_digest, flush, json_digest, remedy
from sgrnn.errors import InputError, quoted
from sgrnn.training.fingerprint import FINGERPRINT

T = TypeVar("T")
_FORMAT = "sgrnn checkpoint 1"
_FILES = ("model.safetensors", "state.pt", "recipe.yaml")
_NAME = r"update-\d{9}"
_OURS = re.compile(rf"\.?{_NAME}")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Args:
        folder: where it lies.
        progress: what progress.json holds: ``update``, ``best_update`` and whatever else was given.
    """

    folder: Path
    progress: dict[str, Any]

    @property
    def recipe(self) -> str:
        """Resolved recipe of the run that wrote the checkpoint, as YAML."""
        return (self.folder / "recipe.yaml").read_text("utf-8")

    def load_model(self, model: nn.Module) -> None:
        """Load the model's parameters.

        Raises:
            InputError: they do not fit.
        """
        path = self.folder / "model.safetensors"
        try:
            load_model(model, path)
        except (RuntimeError, SafetensorError, OSError) as error:
            found = shorten(str(error), 300)
            raise InputError(
                f"{path} does not fit the model of the recipe beside it: {found}; restore the recipe or the "
                "checkpoint from a copy"
            ) from None

    def load_state(self, device: torch.device) -> dict[str, Any]:
        """Return the state of training beside the model's parameters, its tensors on a device.

        Raises:
            InputError: it holds anything but tensors, numbers and texts.
        """
        path = self.folder / "state.pt"
        try:
            return torch.load(path, map_location=device, weights_only=True)
        except Exception as error:
            raise InputError(f"{path} cannot be read: {error}") from None

    def of_another_version(self, error: Exception) -> InputError:
        """Return what to raise where the state holds other things than this version saves."""
        path, run = self.folder / "state.pt", self.folder.parent.parent
        advice = f"go on with that one, which {run / FINGERPRINT} names, or begin a new run"
        return InputError(f"{path} was written by another version of sgrnn: {shorten(str(error), 300)}; {advice}")


def save_checkpoint(
    folder: Path, model: nn.Module, state: dict[str, Any], recipe: str, progress: dict[str, Any]
) -> Path:
    """Write a checkpoint, then remove those that are neither it nor the best one.

    Args:
        folder: of the run's checkpoints.
        model: the model.
        state: all else; tensors, numbers, texts, and lists, tuples and dicts of these.
        recipe: the resolved recipe.
        progress: with ``update``, the number of the checkpoint, and ``best_update``, the one to keep (or None).

    Raises:
        InputError: it cannot be written, the disk being full for example; what was there is untouched.
    """
    final = folder / _name(progress["update"])
    aside = folder / f".{final.name}"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        (aside / "recipe.yaml").write_text(recipe, "utf-8")
        save_model(model, str(aside / "model.safetensors"))
        shutil.copymode(aside / "recipe.yaml", aside / "model.safetensors")  # safetensors lets nobody else read it
        serialized = BytesIO()  # written by Python, which says why it cannot where torch does not
        torch.save(state, serialized)
        (aside / "state.pt").write_bytes(serialized.getbuffer())
        digests = {name: file_digest(aside / name) for name in _FILES}
        record = {"format": _FORMAT, "files": digests, **progress}
        record["digest"] = json_digest(record)
        (aside / "progress.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        for name in (*_FILES, "progress.json", "."):
            flush(aside / name)
        if final.exists():  # only ever an equal one: the same update of the same run
            shutil.rmtree(final)
        aside.rename(final)
        flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise InputError(
            f"cannot write the checkpoint {final}: {error}; nothing saved before is lost: {remedy(error)} and "
            f"go on with `sgrnn resume {quoted(folder.parent)}`"
        ) from None
    keep = {final.name, _name(progress["best_update"]) if progress["best_update"] is not None else ""}
    for other in folder.iterdir():
        if _OURS.fullmatch(other.name) and other.name not in keep:
            shutil.rmtree(other, ignore_errors=True)
    return final


def read_whole(folder: Path, read: Callable[[], T]) -> T:
    """Return what is read of a run's checkpoints, read again where a run in training replaces them meanwhile.

    Args:
        folder: of the run's checkpoints.
        read: opens and reads what is wanted; called once or more.

    Raises:
        InputError: as `read`.
    """
    while True:
        newest = _newest(folder)
        try:
            return read()
        except InputError:
            if newest == _newest(folder):
                raise


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint of a run; None if there is none.

    Raises:
        InputError: it is damaged, or nothing that this version wrote.
    """
    return read_whole(folder, lambda: None if (newest := _newest(folder)) is None else _open(newest))


def best_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the checkpoint of the best evaluation, or the newest if none was evaluated yet.

    Raises:
        InputError: as `latest_checkpoint`.
    """

    def read() -> Checkpoint | None:
        latest = latest_checkpoint(folder)
        best = None if latest is None else latest.progress["best_update"]
        return latest if best is None else _open(folder / _name(best))

    return read_whole(folder, read)


def latest_update(folder: Path) -> int | None:
    """Return the update of the latest checkpoint, whether it is damaged or not; None if there is none."""
    newest = _newest(folder)
    return None if newest is None else int(newest.name.removeprefix("update-"))


def best_update(folder: Path) -> int | None:
    """Return the update of the best checkpoint, read without the checkpoint itself; None before any was evaluated.

    Raises:
        InputError: as `latest_checkpoint`.
    """
    return read_whole(folder, lambda: _progress(newest)["best_update"] if (newest := _newest(folder)) else None)


def require_best(folder: Path) -> Checkpoint:
    """Return the best checkpoint of a run, in the folder of its checkpoints, which must have one.

    Raises:
        InputError: there is none, or as `latest_checkpoint`.
    """
    checkpoint = best_checkpoint(folder)
    if checkpoint is None:
        raise InputError(f"{folder.parent} has no checkpoint yet: go on with `sgrnn resume {quoted(folder.parent)}`")
    return checkpoint


def _newest(folder: Path) -> Path | None:
    try:
        return max((path for path in folder.iterdir() if re.fullmatch(_NAME, path.name)), default=None)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not folder.is_symlink():
            return None
        raise InputError(f"cannot read the checkpoints in {folder}: {error.strerror}; allow reading it") from None


def _open(folder: Path) -> Checkpoint:
    progress = _progress(folder)
    for name in _FILES:
        expected = progress["files"].get(name)
        digest = file_digest(folder / name) if (folder / name).is_file() else "no file"
        if digest != expected:
            raise _damaged(folder, f"{name}: expected {expected}, got {digest}")
    return Checkpoint(folder, progress)


def _progress(folder: Path) -> dict[str, Any]:
    path = folder / "progress.json"
    try:
        progress = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{path.name}: {error}") from None
    form = progress.get("format") if isinstance(progress, dict) else None
    if form != _FORMAT:
        raise InputError(
            f"{folder} is no checkpoint of this version of sgrnn: expected the format {_FORMAT!r}, got {form!r}; open "
            "it with the version that wrote it, or begin a new run"
        )
    if progress.pop("digest", None) != json_digest(progress):
        raise _damaged(folder, f"{path.name} is not as it was written")
    return progress


def _damaged(folder: Path, what: str) -> InputError:
    hint = "restore it from a copy, or remove its folder to go on from the one before, if there is one"
    return InputError(f"the checkpoint {folder} is damaged: {what}; {hint}")


def _name(update: int) -> str:
    return f"update-{update:09d}"
