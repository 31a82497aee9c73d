"""The lock of a run's folder, which keeps two processes from training in it and tells that one does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sgrnn.data.atomic import remedy
from sgrnn.errors import InputError

_PATIENCE = 10.0  # seconds: what is written under such a lock is small
_GLANCE = 0.2  # seconds that the lock is waited for, which `is_locked` holds for an instant


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a run's folder; the lock goes with the process, however it ends.

    Raises:
        InputError: another process holds it, or it cannot be written.
    """
    lock = FileLock(folder / "lock", timeout=_GLANCE, poll_interval=_GLANCE / 10)
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


@contextmanager
def waited_for(path: Path) -> Iterator[None]:
    """Wait until no other process is inside this context of the same path, and keep others out.

    Args:
        path: of the file that the lock is; made where there is none.

    Raises:
        OSError: it cannot be written, or others do not let go of it.
    """
    if not path.exists():
        path.touch()  # with the mode that the umask gives, which the lock would set by itself
    lock = FileLock(path, timeout=_PATIENCE, mode=path.stat().st_mode & 0o777)
    try:
        lock.acquire()
    except NotImplementedError as error:  # a file system without locks
        raise OSError(f"cannot lock {path}: {error}") from None
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return True where a process trains in a run's folder; False, too, where the lock may not be looked at."""
    lock = FileLock(folder / "lock", timeout=0)
    try:
        if (folder / "lock").exists():
            lock.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False
