"""Small files of plain values that are kept in a run's folder, as JSON."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sgrnn.data.atomic import atomic_write
from sgrnn.errors import InputError
from sgrnn.training.run import Run


def keep(run: Run, name: str, content: Mapping[str, Any], *, training: bool = True) -> Path:
    """Write plain values to a file of a run, and return its path.

    Args:
        run: the run.
        name: of the file.
        content: the values.
        training: as `Run.writing`.

    Raises:
        InputError: it cannot be written, the disk being full for example.
    """
    with run.writing(name, training=training) as path, atomic_write(path) as file:
        file.write((json.dumps(dict(content), indent=1) + "\n").encode())
    return path


def kept(run: Run, name: str, mend: str, mappings: Collection[str] | None = ()) -> dict[str, Any]:
    """Return what `keep` wrote; nothing where it has written none.

    Args:
        run: the run.
        name: of the file.
        mend: what to do where it is damaged.
        mappings: the names in it of what must be mappings; None for all.

    Raises:
        InputError: the file is damaged.
    """
    path = run.folder / name
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"expected a mapping, got {content!r:.60}")
        for field in content if mappings is None else mappings:
            if not isinstance(found := content.get(field), dict):
                raise ValueError(f"expected a mapping under {field!r}, got {found!r:.60}")
        return content
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}; {mend}") from None
