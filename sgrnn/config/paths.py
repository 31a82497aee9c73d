"""The fields of a recipe that hold paths, relative to its file."""

from collections.abc import Iterator
from os.path import abspath, expanduser  # which leaves what it does not know as it is
from pathlib import Path
from typing import Any

from sgrnn.errors import InputError


def resolve_paths(tree: dict[str, Any], folder: Path) -> None:
    """Make the paths in a recipe absolute, so that a run can be resumed from any folder.

    Args:
        tree: the recipe as nested mappings; changed.
        folder: what its paths are relative to.

    Raises:
        InputError: what should be a path cannot be one.
    """
    for name, key, section in _paths(tree):
        try:
            section[key] = str(_absolute(folder / expanduser(section[key]), through_links=name == "model"))
        except (ValueError, RuntimeError, OSError) as error:  # a NUL byte, a loop of links
            raise InputError(f"{name}.{key} must be the path of a file, got {section[key]!r}: {error}") from None


def relative_paths(tree: dict[str, Any]) -> list[str]:
    """Return the dotted names of the fields of a recipe whose paths are relative."""
    return [f"{name}.{key}" for name, key, section in _paths(tree) if not Path(expanduser(section[key])).is_absolute()]


def _absolute(path: Path, *, through_links: bool) -> Path:
    """Return a path from the root, through links or not: what one leads to may move while the name stays right."""
    real, plain = path.resolve(), Path(abspath(path))
    return real if through_links or plain.resolve() != real else plain  # a/link/../b need not be a/b


def _paths(tree: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the names of every section and field that hold a path, and the section."""
    for name, keys in (("data", ("train", "valid", "test")), ("model", ("start_from",))):
        if isinstance(section := tree.get(name), dict):
            yield from ((name, key, section) for key in keys if isinstance(section.get(key), str | Path))
