"""The exceptions that the command line answers with a message in place of a traceback."""

import shlex
from numbers import Integral
from pathlib import Path

_OF_MEMORY = ("DefaultCPUAllocator", "out of memory", "Storage size calculation overflowed")
"""Parts of torch's messages where a tensor has no place, on a CPU, a GPU, and anywhere."""


class InputError(ValueError):
    """Bad input: a file, a field or an argument that the user can mend.

    The message names the file or field, what was expected, what was there, and what to do next. The
    command line prints it without a traceback and exits with status 2.
    """


class ProcessLost(Exception):
    """Loss of another process of the run, which has ended or does not answer."""


def is_of_memory(error: Exception) -> bool:
    """Tell whether an error, Python's or torch's, says that memory does not suffice.

    >>> is_of_memory(MemoryError()), is_of_memory(RuntimeError("CUDA out of memory.")), is_of_memory(RuntimeError("?"))
    (True, True, False)
    """
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _OF_MEMORY)


def quoted(path: Path) -> str:
    """Return a path as a shell reads it, for a command in a message.

    >>> quoted(Path("runs/mine")), quoted(Path("my runs/one"))
    ('runs/mine', "'my runs/one'")
    """
    return shlex.quote(str(path))


def at_least(name: str, value: int, least: int, unit: str = "", *, kind: type[Exception] = ValueError) -> int:
    """Return a number, after checking that it is whole and not below the least that makes sense.

    Args:
        name: of the argument.
        value: the number.
        least: that it may be.
        unit: of the least, for the message, such as "step".
        kind: of the exception.

    Raises:
        ValueError: it is smaller, or not whole; names the argument. An `InputError` where `kind` asks for that.
    """
    if not isinstance(value, Integral):
        raise kind(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise kind(f"{name} must be at least {least}{unit and ' '}{unit}, got {value}")
    return value


def require_share(name: str, value: float, *, kind: type[Exception] = ValueError) -> None:
    """Refuse what is no number from 0 to 1.

    Args:
        name: of the argument.
        value: the number.
        kind: of the exception.

    Raises:
        ValueError: it is not; names the argument. An `InputError` where `kind` asks for that.
    """
    if not 0 <= value <= 1:
        raise kind(f"{name} must be in [0, 1], got {value}")


def require_kind(name: str, given: object, kind: type) -> None:
    """Refuse what is of another class.

    Args:
        name: of the argument.
        given: its value.
        kind: the class that it must be of.

    Raises:
        TypeError: it is not; names the argument.
    """
    if not isinstance(given, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got a {type(given).__name__}")
