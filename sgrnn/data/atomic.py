"""Files that appear whole or not at all."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sgrnn.errors import InputError


def remedy(error: Exception) -> str:
    """What there is to do about a file that cannot be written."""
    barred = isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    return "allow writing there" if barred else "free disk space"


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only once everything is written and on the disk.

    It is written aside under a name of its own, so that two processes that write the same file at the same
    time do no harm: the last one to finish wins. After an exception nothing is left behind.

    Args:
        path: the file to create or replace; its folder exists.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def make_folder(folder: Path) -> Path:
    """Create a folder, and those above it, where it does not exist yet.

    Returns:
        The folder.

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
