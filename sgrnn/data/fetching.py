"""One file over HTTP(S): resumed after an interruption, checked, and renamed into place at the end."""

import os
import time
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from sgrnn.data.digests import algorithm_of, file_digest
from sgrnn.errors import InputError

_CHUNK_BYTES = 1 << 16
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers that may be different in a moment


class _Interrupted(Exception):
    """A transfer stopped before its end; another attempt may go further."""


def download(
    url: str,
    path: Path,
    digest: str,
    *,
    timeout: float = 30.0,
    retries: int = 3,
    pause: float = 1.0,
) -> None:
    """Download a file, or what is still missing of it, and put it in place once its digest is right.

    What has arrived lies in `<path>.part`, also after this process has died, and the next attempt asks for
    the rest only. Redirects are followed.

    Args:
        url: address, http or https.
        path: where the file goes; its folder exists.
        digest: `algorithm:hexadecimal` of the whole file.
        timeout: seconds without a single byte after which an attempt counts as stalled.
        retries: how many attempts in a row may bring nothing new before giving up, besides the first.
        pause: seconds before the first repetition; each further one waits twice as long.

    Raises:
        InputError: the address is refused or cannot be reached, or what arrived is not the expected file.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url} is not an address to download from: expected one with http:// or https://")
    part = path.with_name(path.name + ".part")
    failures, most_bytes, restarted = 0, _size(part), False
    while True:
        resumed = part.exists()
        try:
            _transfer(url, part, timeout)
        except _Interrupted as error:
            failures = 0 if _size(part) > most_bytes else failures + 1
            most_bytes = max(most_bytes, _size(part))
            if failures > retries:
                raise InputError(f"{url} could not be downloaded: {error}") from error
            time.sleep(pause * 2 ** max(failures - 1, 0))
            continue
        found = file_digest(part, algorithm_of(digest))
        if found == digest:
            break
        size = _size(part)
        part.unlink()
        most_bytes = 0
        # Pieces of two different files may have been put together: one transfer from scratch decides.
        if restarted or not resumed:
            raise InputError(f"{url} is not the expected file: expected {digest}, got {found} ({size:,} bytes)")
        restarted = True
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def _transfer(url: str, part: Path, timeout: float) -> None:
    """Append to `part` what it lacks, or begin it anew where the server cannot send a rest."""
    have = _size(part)
    # Some hosts refuse the agent name that urllib sends of its own accord.
    headers = {"User-Agent": "sgrnn", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with urlopen(Request(url, headers=headers), timeout=timeout) as response:
            rest = response.status == 206
            if rest and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                part.unlink(missing_ok=True)
                raise _Interrupted("the server sent another part of the file than it was asked for")
            announced = response.headers.get("Content-Length")
            received = 0
            with part.open("ab" if rest else "wb") as file:
                # read1 hands over what is there, so that a stall loses nothing that had arrived.
                while chunk := response.read1(_CHUNK_BYTES):
                    file.write(chunk)
                    received += len(chunk)
            if announced is not None and received < int(announced):
                raise _Interrupted(f"the connection closed after {received:,} of {int(announced):,} bytes")
    except HTTPError as error:
        error.close()
        if error.code == 416 and have:
            return  # nothing beyond what is here: the digest says whether it is complete
        if error.code in _BUSY:
            raise _Interrupted(f"the server answered {error.code} {error.reason}") from error
        raise InputError(f"{url} could not be downloaded: the server answered {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise _Interrupted(f"nothing arrived for {timeout:g} seconds") from error
    except (OSError, HTTPException) as error:
        raise _Interrupted(f"{getattr(error, 'reason', None) or error or type(error).__name__}") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
