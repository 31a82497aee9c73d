"""The data folder: fetch the catalog's files, check them, and list which are there.

from sgrnn.data import data_folder, fetch
fetch("ptb", data_folder())                          # download
fetch("ptb", data_folder(), source=Path("~/ptb"))    # or import files you have
"""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from os.path import expanduser  # which leaves what it does not know as it is
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from sgrnn.data.atomic import atomic_write, file_digest, make_folder
from sgrnn.data.catalog import CatalogFile, Entry, catalog_entry
from sgrnn.errors import InputError

State = Literal["absent", "incomplete", "present", "damaged"]

_SEARCH_DEPTH = 3  # folders below the one the user names: enough for any usual layout, never a whole disk


@dataclass(frozen=True)
class Status:
    """State of one catalog entry's files in a data folder.

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
    """Return the folder for data: the one given, else the environment variable SGRNN_DATA, else `./data`.

    >>> data_folder(Path("elsewhere")).name
    'elsewhere'
    """
    if explicit is not None:
        return Path(expanduser(explicit))
    return Path(expanduser(os.environ.get("SGRNN_DATA") or "data"))


def fetch(
    name: str, folder: Path, source: Path | None = None, *, timeout: float = 30.0, retries: int = 2
) -> list[Path]:
    """Bring the files of one entry into the data folder; those that are there and intact are left alone.

    Args:
        name: of the catalog entry.
        folder: the data folder.
        source: a folder that holds the files, or their archive, somewhere beneath it; None downloads them.
        timeout: seconds without a single byte after which a download has failed.
        retries: downloads of a file that are tried after the first has failed.

    Returns:
        The paths of the files, in the catalog's order.

    Raises:
        InputError: unknown name, files that are missing or not the expected ones, or the download failed.
    """
    entry = catalog_entry(name)
    target = make_folder(folder / entry.name)
    lacking = [file for file in entry.files if not _is_intact(target / file.name, file)]
    if lacking and source is not None:
        _import(entry, lacking, Path(expanduser(source)), target)
    elif lacking:
        # Beside the target, so that the disk that must hold the files holds them here too.
        with TemporaryDirectory(prefix=".download-", dir=target) as arrived:
            _download(entry, [entry.archive] if entry.archive else lacking, Path(arrived), timeout, retries)
            _import(entry, lacking, Path(arrived), target)
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
    entry_status = status(name, folder)
    if entry_status.state == "present":
        return entry_status
    name = entry_status.name
    faults = [f"{file} is missing" for file in entry_status.missing]
    faults += [f"{file} is damaged (its digest is not the expected one)" for file in entry_status.damaged]
    raise InputError(
        f"{folder / name}: {', '.join(faults)}; run `sgrnn data fetch {name}`, or "
        f"`sgrnn data fetch {name} --from FOLDER` for files you have"
    )


def _download(entry: Entry, files: Iterable[CatalogFile], target: Path, timeout: float, retries: int) -> None:
    """Put files from the web into a folder, each with the digest of the catalog."""
    import pooch  # with requests, only where something is downloaded: lists and help are to be quick
    from requests import RequestException

    pooch.get_logger().setLevel("WARNING")
    registry: dict[str, str | None] = {file.name: file.digest for file in files}
    remote = pooch.create(target, entry.base_url, registry=registry, retry_if_failed=retries)
    # Identity: a .gz file that a server labels as compressed would arrive unpacked. Any: pooch's types are too narrow.
    http: Any = pooch.HTTPDownloader(timeout=timeout, headers={"User-Agent": "sgrnn", "Accept-Encoding": "identity"})
    for name in registry:
        try:
            remote.fetch(name, downloader=http)
        except (RequestException, ValueError) as error:  # ValueError: the digest is another
            names = ", ".join(file.name for file in entry.files)
            names += f" or {entry.archive.name}" if entry.archive else ""
            raise InputError(
                f"{entry.base_url}{name} could not be downloaded: {_reason(error)}; try again later, or get {names} "
                f"by other means and import them with `sgrnn data fetch {entry.name} --from FOLDER`"
            ) from error


def _reason(error: BaseException) -> str:
    """Return the first cause of an error, such as the name that could not be resolved, in one sentence."""
    while error.__context__ is not None:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error).partition(". ")[0] or type(error).__name__


def _import(entry: Entry, lacking: list[CatalogFile], source: Path, target: Path) -> None:
    """Copy the files that are lacking from a folder, or from the archive in it."""
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; --from expects the one that holds the files of {entry.name}")
    originals = {file: path for file in lacking if (path := _find(source, file))}
    missing = [file.name for file in lacking if file not in originals]
    if missing and entry.archive:
        if archive := _find(source, entry.archive):
            with TemporaryDirectory(prefix=".archive-", dir=target) as unpacked:
                shutil.unpack_archive(archive, unpacked, "zip")
                _import(replace(entry, archive=None), lacking, Path(unpacked), target)
            return
        missing.append(f"or {entry.archive.name}")
    if missing:
        raise InputError(
            f"{source} does not hold {', '.join(missing)} (looked {_SEARCH_DEPTH} folders deep); name the "
            "folder that does"
        )
    for file, path in originals.items():
        with path.open("rb") as original, atomic_write(target / file.name) as copy:
            shutil.copyfileobj(original, copy)


def _find(source: Path, file: CatalogFile) -> Path | None:
    """Return the file of that name and digest beneath a folder, the nearest one, None where there is none of that name.

    Raises:
        InputError: every file of that name has another digest.
    """
    levels = ("*/" * depth + file.name for depth in range(_SEARCH_DEPTH + 1))
    candidates = [path for level in levels for path in sorted(source.glob(level)) if path.is_file()]
    for path in candidates:
        if _is_intact(path, file):
            return path
    if not candidates:
        return None
    other = candidates[0]
    raise InputError(
        f"{other} is not the published {file.name}: expected {file.digest}, got {_digest_like(other, file)} "
        f"({other.stat().st_size:,} bytes); get the original file, unedited"
    )


def _digest_like(path: Path, file: CatalogFile) -> str:
    return file_digest(path, file.digest.partition(":")[0])


def _is_intact(path: Path, file: CatalogFile) -> bool:
    return path.is_file() and _digest_like(path, file) == file.digest
