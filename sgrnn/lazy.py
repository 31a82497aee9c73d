"""Public names that are imported when they are first asked for, so that `sgrnn --help` need not load torch."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def importer(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package (PEP 562).

    Args:
        package: its name.
        homes: by module of the package the public names that it holds, with blanks between them; a module under its
            own name is itself public.

    >>> importer("collections", {"abc": "Sequence Mapping"})("Mapping").__name__
    'Mapping'
    """
    home_of = {name: home for home, names in homes.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(f"{package}.{home_of[name]}")
        value = module if name == home_of[name].rpartition(".")[2] else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    return get
