"""The run folder: all that a training run reads back or leaves behind.

RUN/
    recipe.yaml        the resolved recipe
    tokenizer/         of a text: the tokenizer it was trained with
    texts.json         of a text: the digests of its splits
    metrics.jsonl      the record: a line for each interval of updates and each evaluation
    tensorboard/       the same for the viewer
    checkpoints/       the latest and the best
    curves.png         learning curves, at the end
    lock               held while a process trains in it
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from sgrnn.config.files import dump_recipe, parse_recipe
from sgrnn.config.recipe import Recipe
from sgrnn.data.atomic import atomic_write, remedy
from sgrnn.errors import InputError

if TYPE_CHECKING:
    from sgrnn.data import Tokenizer

_TEXTS = "texts.json"


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
            InputError: it holds a run already, another process is making one there, or it cannot be written.
        """
        try:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            with locked(folder):
                if (folder / "recipe.yaml").exists():
                    raise InputError(
                        f"{folder} already holds a run: go on with `sgrnn resume {folder}`, or name another folder "
                        "with --run"
                    )
                if tokenizer is not None:
                    tokenizer.save(folder / "tokenizer")
                with atomic_write(folder / "recipe.yaml") as file:
                    file.write(dump_recipe(recipe).encode())
        except OSError as error:
            raise InputError(f"cannot create the run folder {folder}: {error}; name another with --run") from None
        return cls(folder, recipe, tokenizer)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Open the folder of an earlier run.

        Raises:
            InputError: there is none, or it is damaged.
        """
        path = folder / "recipe.yaml"
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            raise InputError(f"{folder} holds no run: expected {path}, which a run begins by writing") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {path}: {error}") from None
        recipe = parse_recipe(text, str(path))
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
        """Yield the records that were logged, oldest first. A line cut short by a kill is left out."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return
        for line in path.read_text("utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
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

    def keep_texts(self, digests: Mapping[str, str]) -> None:
        """Write down the digests of the texts that the run is scored on, if any.

        Raises:
            InputError: as `log`.
        """
        if digests:
            with self.writing(_TEXTS) as path, atomic_write(path) as file:
                file.write((json.dumps(dict(digests), indent=1) + "\n").encode())

    def texts(self) -> dict[str, str]:
        """Return the digests of the texts that the run is scored on, by split; none for a task, or before training.

        Raises:
            InputError: the file is damaged.
        """
        path = self.folder / _TEXTS
        try:
            return dict(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path} is damaged: {error}; remove it, and write it again with `sgrnn resume {self.folder}`"
            ) from None

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a path of the run to be written inside this context.

        Raises:
            InputError: it cannot be written, the disk being full for example.
        """
        path = self.folder / name
        try:
            yield path
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {error}; {remedy(error)} and go on with `sgrnn resume {self.folder}`"
            ) from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a run's folder; the lock goes with the process, however it ends.

    Raises:
        InputError: another process holds it, or it cannot be written.
    """
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder} is being trained in by another process: wait until that has ended, or name another folder "
            "with --run"
        ) from None
    except OSError as error:
        raise InputError(f"cannot lock {folder / 'lock'}: {error}; {remedy(error)}") from None
    try:
        yield
    finally:
        lock.release()


def free_folder(name: str, parent: str = "runs") -> Path:
    """Return the first of PARENT/NAME-1, PARENT/NAME-2, ... that does not exist."""
    number = 1
    while (folder := Path(parent) / f"{name}-{number}").exists():
        number += 1
    return folder
