"""The fingerprint of a run: which texts it is scored on, and by which versions, on what machine, it was trained.

RUN/fingerprint.json
    texts       digests of the splits, of a text
    conditions  a mapping for the beginning, and one for each time that the run went on under other conditions
"""

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgrnn import __version__
from sgrnn.errors import InputError, quoted

if TYPE_CHECKING:
    import torch

FINGERPRINT = "fingerprint.json"
"""Name of the file in a run's folder."""

_NOT_COMPARED = ("time", "update", "command")  # which may differ under the same conditions


def present_conditions(device: "torch.device", processes: int, update: int) -> dict[str, Any]:
    """Return the conditions under which a run is trained from now on, as plain values by name.

    Args:
        device: of the model.
        processes: that train the run together.
        update: of the checkpoint from which it goes on; 0 for the beginning.

    Returns:
        `time` in UTC, `update`, `command`, `sgrnn` (version), `commit` (of a checkout; None without), `python`,
        `torch`, `numpy`, `platform`, `device`, `threads` (of each process), `processes`.
    """
    import numpy as np
    import torch  # only here and below, so that a run is opened without

    program = Path(sys.argv[0]).name
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "update": update,
        "command": shlex.join(["sgrnn" if program == "__main__.py" else program, *sys.argv[1:]]),
        "sgrnn": __version__,
        "commit": commit_of(Path(__file__).parents[2]),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "processes": processes,
    }


@cache
def commit_of(folder: Path) -> str | None:
    """Return the commit of a checkout, with " modified" behind it where tracked files were changed; None if it is none.

    Args:
        folder: the root of the checkout.
    """
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty= modified"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def read_fingerprint(folder: Path) -> dict[str, Any]:
    """Read the fingerprint of the run in a folder: `texts` and `conditions`, empty before training.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FINGERPRINT
    try:
        read = json.loads(path.read_bytes())
        conditions = [{"time": each["time"], **each} for each in read["conditions"]]
        return {"texts": dict(read["texts"]), "conditions": conditions}
    except FileNotFoundError:
        return {"texts": {}, "conditions": []}
    except (ValueError, TypeError, LookupError) as error:
        raise InputError(
            f"{path} is damaged: {error}; remove it, and write it again with `sgrnn resume {quoted(folder)}`"
        ) from None


def written_by(folder: Path) -> str | None:
    """Return the version of sgrnn that last trained the run in a folder; None where that is not known."""
    try:
        entries = read_fingerprint(folder)["conditions"]
    except InputError:
        return None
    return entries[-1].get("sgrnn") if entries else None


def with_conditions(fingerprint: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fingerprint with conditions at its end, unless they are those before."""
    entries = [*fingerprint["conditions"]]
    if not entries or _compared(entries[-1]) != _compared(now):
        entries.append(dict(now))
    return {**fingerprint, "conditions": entries}


def other_versions(fingerprint: Mapping[str, Any]) -> str | None:
    """Return the versions that a run was last trained with where they are not today's: "torch 2.12.0, now 2.13.0".

    None where they are, or where none are known. Under others a run goes on, but not bit for bit.
    """
    if not fingerprint["conditions"]:
        return None
    import torch

    before, now = fingerprint["conditions"][-1], {"sgrnn": __version__, "torch": str(torch.__version__)}
    differing = [f"{name} {before.get(name)}, now {now[name]}" for name in now if before.get(name) != now[name]]
    return " and ".join(differing) or None


def _compared(conditions: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in conditions.items() if name not in _NOT_COMPARED}
