"""Import of public names at their first use, so that `sgrnn --help` need not load torch."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def importer(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for a package, which imports each public name at its first use (PEP 562).

    Args:
        package: name of the package.
        homes: for each module of the package its public names, with blanks between them; a module listed under its own
            name is itself public.

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
