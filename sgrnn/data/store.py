"""The data folder: bring the catalog's files in, check them, say what is there.

from sgrnn.data import data_folder, fetch
fetch("ptb", data_folder())                          # download
fetch("ptb", data_folder(), source=Path("~/ptb"))    # or import files you have
"""

import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sgrnn.data.atomic import atomic_write, make_folder
from sgrnn.data.catalog import CATALOG, CatalogFile, Entry
from sgrnn.data.digests import algorithm_of, file_digest
from sgrnn.data.fetching import download
from sgrnn.errors import InputError

State = Literal["absent", "incomplete", "present", "damaged"]

_SEARCH_DEPTH = 3  # folders below the one the user names: enough for any usual layout, never a whole disk


@dataclass(frozen=True)
class Status:
    """What the data folder holds of one catalog entry.

    Args:
        name: of the entry.
        state: `present` when every file is there and has the right digest.
        num_bytes: on disk, of the files that are there.
        missing: names of files that are not there.
        damaged: names of files whose digest is not the expected one.
    """

    name: str
    state: State
    num_bytes: int
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


def data_folder(explicit: Path | None = None) -> Path:
    """The folder for data: the one given, else the environment variable SGRNN_DATA, else `./data`.

    >>> data_folder(Path("elsewhere")).name
    'elsewhere'
    """
    if explicit is not None:
        return explicit.expanduser()
    return Path(os.environ.get("SGRNN_DATA") or "data").expanduser()


def catalog_entry(name: str) -> Entry:
    """Look a name up in the catalog; `ptb-char` is derived from `ptb` and stands for it.

    Raises:
        InputError: no such name, or one that needs no files.
    """
    name = "ptb" if name == "ptb-char" else name
    if name in CATALOG:
        return CATALOG[name]
    if name == "python-docs":
        raise InputError("python-docs comes with Python: it needs no fetching and has no digest to check")
    if name == "text":
        raise InputError(
            "text stands for your own files: name them in the recipe (data.train, data.valid, data.test) "
            "instead of fetching them"
        )
    raise InputError(f"there is no data named {name!r}; expected one of {', '.join(CATALOG)} or ptb-char")


def fetch(
    name: str,
    folder: Path,
    source: Path | None = None,
    *,
    base_url: str | None = None,
    timeout: float = 30.0,
    retries: int = 3,
    pause: float = 1.0,
) -> list[Path]:
    """Bring the files of one entry into the data folder; those that are there and intact are left alone.

    Args:
        name: of the catalog entry.
        folder: the data folder.
        source: a folder that holds the files, or their archive, somewhere beneath it; None downloads them.
        base_url: where to download from instead of the published address.
        timeout, retries, pause: see `download`.

    Returns:
        The paths of the files, in the catalog's order.

    Raises:
        InputError: unknown name, files not found or not the expected ones, or the download failed.
    """
    entry = catalog_entry(name)
    target = make_folder(folder / entry.name)
    wanted = [file for file in entry.files if not _is_intact(target / file.name, file)]
    if wanted and source is not None:
        _import(entry, wanted, source.expanduser(), target)
    elif wanted:
        url = (base_url or entry.base_url).rstrip("/") + "/"
        try:
            for file in [entry.archive] if entry.archive else wanted:
                path = target / file.name
                download(url + file.name, path, file.digest, timeout=timeout, retries=retries, pause=pause)
        except InputError as error:
            names = ", ".join(file.name for file in entry.files)
            raise InputError(
                f"{error}; try again later, or get {names} by other means and import them with "
                f"`sgrnn data fetch {entry.name} --from FOLDER`"
            ) from error
        if entry.archive:
            archive = target / entry.archive.name
            _extract(archive, wanted, target)
            archive.unlink()
    return [target / file.name for file in entry.files]


def status(name: str, folder: Path) -> Status:
    """Compare what the data folder holds of one entry with the catalog, digests included."""
    entry = catalog_entry(name)
    paths = {file: folder / entry.name / file.name for file in entry.files}
    there = [file for file, path in paths.items() if path.is_file()]
    missing = tuple(file.name for file in entry.files if file not in there)
    damaged = tuple(file.name for file in there if not _is_intact(paths[file], file))
    state: State = "damaged" if damaged else "present" if not missing else "incomplete" if there else "absent"
    return Status(entry.name, state, sum(paths[file].stat().st_size for file in there), missing, damaged)


def verify(name: str, folder: Path) -> Status:
    """Check that every file of one entry is there and has the digest of the catalog.

    Raises:
        InputError: files are missing or damaged; names them.
    """
    found = status(name, folder)
    if found.state == "present":
        return found
    faults = [f"{name} is missing" for name in found.missing] + [
        f"{name} is damaged (its digest is not the expected one)" for name in found.damaged
    ]
    raise InputError(
        f"{folder / found.name}: {', '.join(faults)}; run `sgrnn data fetch {found.name}`, or "
        f"`sgrnn data fetch {found.name} --from FOLDER` for files you have"
    )


def _is_intact(path: Path, file: CatalogFile) -> bool:
    return path.is_file() and file_digest(path, algorithm_of(file.digest)) == file.digest


def _import(entry: Entry, wanted: list[CatalogFile], source: Path, target: Path) -> None:
    """Copy the wanted files, or extract the archive, from a folder of the user's."""
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; --from expects the one that holds the files of {entry.name}")
    found = {file: path for file in wanted if (path := _find(source, file))}
    missing = [file.name for file in wanted if file not in found]
    if missing and entry.archive:
        if archive := _find(source, entry.archive):
            _extract(archive, wanted, target)
            return
        missing.append(f"or {entry.archive.name}")
    if missing:
        raise InputError(
            f"{source} does not hold {', '.join(missing)} (looked {_SEARCH_DEPTH} folders deep); name the "
            "folder that does"
        )
    for file, path in found.items():
        with path.open("rb") as original, atomic_write(target / file.name) as copy:
            shutil.copyfileobj(original, copy)


def _find(source: Path, file: CatalogFile) -> Path | None:
    """The file of that name and digest beneath a folder, None where there is none of that name.

    Raises:
        InputError: every file of that name has another digest.
    """
    other = None
    for path in _walk(source, _SEARCH_DEPTH):
        if path.name == file.name:
            if _is_intact(path, file):
                return path
            other = other or path
    if other is not None:
        found = file_digest(other, algorithm_of(file.digest))
        raise InputError(
            f"{other} is not the published {file.name}: expected {file.digest}, got {found} "
            f"({other.stat().st_size:,} bytes); get the original file, unedited"
        )
    return None


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Files of a folder, nearest first, then those of its folders in alphabetical order."""
    children = sorted(folder.iterdir())
    yield from (child for child in children if child.is_file())
    if depth > 0:
        for child in children:
            if child.is_dir() and os.access(child, os.R_OK | os.X_OK):
                yield from _walk(child, depth - 1)


def _extract(archive: Path, wanted: list[CatalogFile], target: Path) -> None:
    """Take the wanted files out of a zip archive of known digest."""
    with zipfile.ZipFile(archive) as members:
        by_name = {Path(member).name: member for member in members.namelist()}
        for file in wanted:
            with members.open(by_name[file.name]) as original, atomic_write(target / file.name) as copy:
                shutil.copyfileobj(original, copy)
            if not _is_intact(target / file.name, file):
                raise InputError(f"{archive} holds another {file.name} than expected ({file.digest})")
