"""Digests of files and texts, written `algorithm:hexadecimal`."""

import hashlib
from pathlib import Path


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file's bytes, `algorithm:hexadecimal`."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def bytes_digest(content: bytes, algorithm: str = "sha256") -> str:
    """The digest of some bytes, `algorithm:hexadecimal`.

    >>> bytes_digest(b"text", "sha1")
    'sha1:372ea08cab33e71c02c651dbc83a474d32c676ea'
    """
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def algorithm_of(digest: str) -> str:
    """The algorithm a written digest was made with.

    >>> algorithm_of("sha1:372ea08c")
    'sha1'
    """
    return digest.partition(":")[0]
