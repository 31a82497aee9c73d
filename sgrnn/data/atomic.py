"""Files that are complete or absent, never half written, and their digests, `algorithm:hexadecimal`."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sgrnn.errors import InputError


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest of a file's bytes."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def bytes_digest(content: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of some bytes.

    >>> bytes_digest(b"text", "sha1")
    'sha1:372ea08cab33e71c02c651dbc83a474d32c676ea'
    """
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def json_digest(value: Any) -> str:
    """Return the digest of lists, mappings, numbers and texts as JSON writes them, mappings in their order."""
    return bytes_digest(json.dumps(value).encode())


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only once everything is written and on the disk.

    Until then it lies beside it, under a name that no other process uses, so that two processes that write the same
    file at the same time do no harm: the last one to finish wins. After an exception nothing is left behind.

    Args:
        path: the file to create or replace; its folder exists. Of a link, the file that it leads to.

    Raises:
        OSError: it cannot be written, or names a folder, a device or a pipe.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, expected the name of a file", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is a device or a pipe, expected the name of a file", str(path))
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Make a folder that takes its name, or is filled, only once everything in it is written and on the disk.

    Yields:
        A folder beside it, or in it where it is there, to be filled inside this context. After an exception nothing is
        left behind.

    Args:
        folder: to be made, and those above it; nothing but an empty folder may be there, or a link to one. That is
            filled and not replaced, since it may be where somebody works, or a disk of its own.

    Raises:
        InputError: there is something, or it cannot be written.
    """
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} already exists: name another folder, or remove it")
    place = folder.absolute()
    is_there = place.is_dir()
    aside = (place if is_there else place.parent) / f".{place.name}.{uuid.uuid4().hex}"
    try:
        aside.mkdir(parents=True)
        yield aside
        for path in (*aside.rglob("*"), aside):
            flush(path)
        if is_there:
            for path in [*aside.iterdir()]:
                path.rename(place / path.name)
            aside.rmdir()
            flush(place)
        else:
            aside.rename(place)
            flush(place.parent)
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror or error}; {remedy(error)}, or name another folder"
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    windows = os.name == "nt"  # which opens no folder, and flushes only what may be written
    if windows and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> Path:
    """Create a folder, and those above it, where it does not exist yet, and return it.

    Raises:
        InputError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be created: {error.strerror}; choose another data folder with --data DIR "
            "or the environment variable SGRNN_DATA"
        ) from error
    return folder


def remedy(error: Exception) -> str:
    """Return advice on a file that cannot be written."""
    barred = isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    return "allow writing there" if barred else "free disk space"
