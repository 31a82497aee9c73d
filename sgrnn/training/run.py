"""The run folder: all that a training run reads back or leaves behind.

RUN/
    recipe.yaml        the resolved recipe
    tokenizer/         of a text: the tokenizer it was trained with
    fingerprint.json   the digests of its texts, and the versions and machines that it was trained by
    about.json         what it learns, and the number of its parameters
    scores.json        what `sgrnn evaluate` measured, by split, and what the end of a run did on its train text
    metrics.jsonl      the record: a line for each interval of updates, each evaluation, and a divergence
    tensorboard/       the same for the viewer, where training.loggers asks for it
    wandb.json, mlflow.json   the ids of the run there, likewise
    start.safetensors  the weights that it began with, where they are those of another run
    checkpoints/       the latest and the best
    curves.png         learning curves, drawn anew at evaluations
    lock               held while a process trains in it
    scores.lock        held while one writes scores.json
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgrnn import __version__
from sgrnn.config.changes import refusals
from sgrnn.config.files import dump_recipe
from sgrnn.config.recipe import Recipe
from sgrnn.data.atomic import atomic_write, remedy
from sgrnn.errors import InputError, quoted
from sgrnn.training.fingerprint import FINGERPRINT, read_fingerprint, with_conditions, written_by
from sgrnn.training.kept_recipes import parse_kept
from sgrnn.training.lock import locked

if TYPE_CHECKING:
    from sgrnn.data import Tokenizer


@dataclass(frozen=True)
class Run:
    """A run folder that exists.

    Args:
        folder: where it lies.
        recipe: what it was or is to be trained by.
        tokenizer: what the tokens of its text mean; None if it learns a task.
    """

    folder: Path
    recipe: Recipe
    tokenizer: "Tokenizer | None"

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @classmethod
    def create(cls, folder: Path, recipe: Recipe, tokenizer: "Tokenizer | None") -> "Run":
        """Make the folder of a new run.

        Raises:
            InputError: its name is not UTF-8, it holds a run or is about to hold another's, or it cannot be written.
        """
        try:
            str(folder).encode()  # as safetensors and matplotlib do
        except UnicodeEncodeError:
            raise InputError(f"a run's name must be UTF-8, got {str(folder)!r}: name another") from None
        try:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            with locked(folder):
                if (folder / "recipe.yaml").exists():
                    raise InputError(
                        f"{folder} already holds a run: go on with `sgrnn resume {quoted(folder)}`, or name another "
                        "folder with --run"
                    )
                if tokenizer is not None:
                    tokenizer.save(folder / "tokenizer")
                with atomic_write(folder / "recipe.yaml") as file:
                    file.write(dump_recipe(recipe).encode())
        except OSError as error:
            raise InputError(f"cannot create the run folder {folder}: {error}; name another with --run") from None
        return cls(folder, recipe, tokenizer)

    @classmethod
    def open(cls, folder: Path, overrides: Sequence[str] = ()) -> "Run":
        """Open the folder of an earlier run, perhaps with overrides of its recipe, as `load_recipe` takes them.

        Nothing is written before training goes on.

        Raises:
            InputError: there is none, it is damaged or of another version, or a run must keep what is overridden.
        """
        recipe = read_recipe(folder)
        if overrides:
            changed = read_recipe(folder, overrides)
            if refused := list(refusals(recipe, changed, folder)):
                raise InputError("\n".join(f"{folder}: {message}" for message in refused))
            recipe = changed
        from sgrnn.data import load_tokenizer  # only here, so that a folder without a run is refused at once

        return cls(folder, recipe, None if recipe.data is None else load_tokenizer(folder / "tokenizer"))

    @property
    def checkpoints(self) -> Path:
        """Folder of the run's checkpoints."""
        return self.folder / "checkpoints"

    @property
    def name(self) -> str:
        """Name of the run in tables and figures."""
        return str(self.folder)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records that were logged, oldest first. A last line cut short by a kill is left out.

        Raises:
            InputError: another line is damaged.
        """
        path = self.folder / "metrics.jsonl"
        lines = path.read_text("utf-8", errors="replace").rstrip().split("\n") if path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                if not (isinstance(record, dict) and isinstance(record.get("update"), int)):
                    raise ValueError(f"expected a record of an update, got {record!r:.60}")
                for name, value in record.items():
                    if not isinstance(value, int | float):
                        raise ValueError(f"expected a number under {name!r}, got {value!r:.60}")
            except (ValueError, RecursionError) as error:
                if number < len(lines):
                    raise InputError(
                        f"{path}:{number} is damaged: {error}; restore the file from a copy, or remove that line"
                    ) from None
                return
            yield record

    def log(self, record: dict[str, Any]) -> None:
        """Append a record to the run's log.

        Raises:
            InputError: it cannot be written, the disk being full for example.
        """
        with self.writing("metrics.jsonl") as path, path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def forget_after(self, update: int) -> None:
        """Drop what was logged after a checkpoint, so that a resumed run writes it once.

        Raises:
            InputError: as `log`.
        """
        kept = [record for record in self.records() if record["update"] <= update]
        with self.writing("metrics.jsonl") as path, atomic_write(path) as file:
            file.writelines((json.dumps(record) + "\n").encode() for record in kept)

    def texts(self) -> dict[str, str]:
        """Return the digests of the texts that the run is scored on, by split; none for a task, or before training.

        Raises:
            InputError: the fingerprint is damaged.
        """
        return self.fingerprint()["texts"]

    def keep_recipe(self) -> None:
        """Write the recipe to the folder, where it is not the one that lies there.

        Raises:
            InputError: as `log`.
        """
        if read_recipe(self.folder) != self.recipe:
            with self.writing("recipe.yaml") as path, atomic_write(path) as file:
                file.write(dump_recipe(self.recipe).encode())

    def keep_fingerprint(self, texts: Mapping[str, str], conditions: Mapping[str, Any]) -> None:
        """Write down which texts the run is scored on, and under which conditions it goes on, where that is new.

        Args:
            texts: their digests, by split; none for a task.
            conditions: of the training (`sgrnn.training.fingerprint.present_conditions`).

        Raises:
            InputError: as `log`, or the file is damaged.
        """
        before = self.fingerprint()
        after = with_conditions({**before, "texts": dict(texts)}, conditions)
        if after != before:
            with self.writing(FINGERPRINT) as path, atomic_write(path) as file:
                file.write((json.dumps(after, indent=1) + "\n").encode())

    def fingerprint(self) -> dict[str, Any]:
        """Return `texts`, the digests of the run's texts, and `conditions`, those of its training, oldest first.

        Both are empty before training; `sgrnn.training.fingerprint` says what they hold.

        Raises:
            InputError: the file is damaged.
        """
        return read_fingerprint(self.folder)

    @contextmanager
    def writing(self, name: str, *, training: bool = True) -> Iterator[Path]:
        """Yield a path of the run to be written inside this context.

        Args:
            name: of the file.
            training: True for what training writes, and goes on to write once there is place.

        Raises:
            InputError: it cannot be written, the disk being full for example.
        """
        path = self.folder / name
        try:
            yield path
        except OSError as error:
            then = f" and go on with `sgrnn resume {quoted(self.folder)}`" if training else ""
            raise InputError(f"cannot write {path}: {error}; {remedy(error)}{then}") from None


def read_recipe(folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe of the run in a folder, with overrides as `load_recipe` takes them.

    Raises:
        InputError: there is no run, or its recipe cannot be read, by this version at least.
    """
    path = folder / "recipe.yaml"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise InputError(f"{folder} holds no run: expected {path}, which a run begins by writing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    try:
        return parse_kept(text, str(path), overrides)
    except InputError as error:
        version = written_by(folder)
        if overrides or version == __version__ or not (folder / "metrics.jsonl").exists():
            raise
        raise InputError(
            f"{folder} is a run of another version of sgrnn, {version or 'an older one'}, whose recipe this version, "
            f"{__version__}, cannot read: {str(error).splitlines()[0]}; open it with that version, or begin a "
            "new run"
        ) from None


def free_folder(name: str, parent: str = "runs") -> Path:
    """Return the first of PARENT/NAME-1, PARENT/NAME-2, ... that does not exist."""
    number = 1
    while (folder := Path(parent) / f"{name}-{number}").exists():
        number += 1
    return folder
