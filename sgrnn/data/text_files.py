"""Plain text from the user's files: UTF-8, `\\n` line ends, nothing that is not text."""

from codecs import BOM_UTF8
from pathlib import Path

from sgrnn.data.encodings import CONTROL, conversion, wide_encoding, wrong_share
from sgrnn.errors import InputError

_MOST_WRONG = 0.05  # of a text's characters, at most, are such that nobody writes
_SHORT = 100  # characters: a text of fewer is too short, whatever its lines are like


def read_text(path: Path) -> str:
    """Read a text file, with line ends made `\\n` and one added where the last line has none.

    Raises:
        InputError: missing, empty, binary or not UTF-8; says where in the file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected a UTF-8 text file: check the path") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; expected a UTF-8 text file") from error
    return decode_text(content, str(path))


def decode_text(content: bytes, source: str) -> str:
    """Turn the bytes of a text file into text, as `read_text` does.

    Args:
        content: the bytes.
        source: what to call them in an error message.

    >>> decode_text(b"one\\r\\ntwo", "example")
    'one\\ntwo\\n'
    """
    if not content.removeprefix(BOM_UTF8).strip():
        raise InputError(f"{source} is empty; expected UTF-8 text: give a file that holds some")
    if (offset := content.find(0)) >= 0:
        wide = wide_encoding(content)
        looks = f"it looks like {wide}" if wide else "if it is UTF-16"
        raise InputError(
            f"{source} is not text: a NUL byte at byte {offset:,} (line {_line(content, offset):,}); expected UTF-8: "
            f"{looks}: convert it with `iconv -f {wide or 'UTF-16'} -t UTF-8`, or give another file"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source} is not UTF-8: byte 0x{content[error.start]:02x} at byte {error.start:,} (line "
            f"{_line(content, error.start):,}) is not valid; convert it with {conversion(content)}"
        ) from error
    if (share := wrong_share(text, CONTROL)) > _MOST_WRONG:
        raise InputError(
            f"{source} is not text: {share:.0%} of its characters are control characters; expected UTF-8: convert it "
            f"with {conversion(content)}, or give another file"
        )
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


def split_text(text: str, valid_fraction: float, test_fraction: float, source: str) -> dict[str, str]:
    """Cut one text into train, valid and test, in this order, each a contiguous piece.

    Cuts fall behind a line end, or behind a blank in a text of one line.

    Args:
        text: the whole text.
        valid_fraction: share of its characters, between 0 and 1.
        test_fraction: share of its characters; 0 for none.
        source: what to call the text in an error message.

    Returns:
        The pieces by split; together they are the text.

    Raises:
        InputError: impossible fractions, or a text too short to be cut so.

    >>> split_text("one\\ntwo\\nsix\\nten\\n", 0.25, 0.25, "example")
    {'train': 'one\\ntwo\\n', 'valid': 'six\\n', 'test': 'ten\\n'}
    """
    if not (valid_fraction > 0 and test_fraction >= 0 and valid_fraction + test_fraction < 1):
        raise InputError(
            f"valid_fraction must be above 0, test_fraction at least 0, and both together below 1, got "
            f"{valid_fraction:g} and {test_fraction:g}"
        )
    mark = "\n" if "\n" in text[:-1] else " "
    # A ten-thousandth of a character forgives fractions such as 0.9 that binary numbers only approximate.
    train_end = _cut(text, mark, int(len(text) * (1 - valid_fraction - test_fraction) + 1e-4))
    valid_end = _cut(text, mark, int(len(text) * (1 - test_fraction) + 1e-4))
    pieces = {"train": text[:train_end], "valid": text[train_end:valid_end], "test": text[valid_end:]}
    if test_fraction == 0:
        del pieces["test"]
    for split, piece in pieces.items():
        if not piece.strip():
            raise InputError(_explain(text, mark, split, source))
    return pieces


def _explain(text: str, mark: str, split: str, source: str) -> str:
    """Return a message on why a text cannot be cut into pieces without an empty one, and what to do."""
    segments = [segment for segment in text.rstrip("\n").split(mark) if segment.strip()]
    longest = max(map(len, segments), default=0)
    files = "name separate files, data.valid and data.test"
    if len(text) < _SHORT:
        return (
            f"{source} is too short to be split: {split} would be empty ({len(text):,} characters in all); give larger "
            "fractions or separate files"
        )
    if len(segments) == 1:
        return (
            f"{source} cannot be split: it is one line of {longest:,} characters without a blank, and cuts fall behind "
            f"line ends or blanks; break it into lines, or {files}"
        )
    kind = "line" if mark == "\n" else "word"
    return (
        f"{source} cannot be split: {split} would be empty, since cuts fall behind the end of a {kind}, and of its "
        f"{len(segments):,} {kind}s the longest has {longest:,} of {len(text):,} characters; break that, change "
        f"data.valid_fraction or data.test_fraction, or {files}"
    )


def _cut(text: str, mark: str, position: int) -> int:
    """Return the first place at or behind a position that follows a mark."""
    place = text.find(mark, max(position - 1, 0))
    return len(text) if place < 0 else place + 1


def _line(content: bytes, offset: int) -> int:
    return content.count(b"\n", 0, offset) + 1
