"""Guesses of the encoding of bytes that are no UTF-8 text, and the command that converts them."""

import unicodedata
from collections.abc import Set

from sgrnn.errors import InputError

_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_WIDE = ("UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE")
_SAMPLE = 1 << 16  # bytes that are looked at
_OF_TEXTS = "\t\n\v\f\r\x1b\x85\ufeff"  # control characters that a text may hold; the escape colors a terminal
CONTROL = frozenset({"Cc"})  # a category of characters
# What bytes in another encoding come to, besides: unassigned characters, private ones, half a pair. In valid UTF-8 the
# first two are newer than this Python knows, or somebody's own signs.
_WRONG = CONTROL | {"Cn", "Co", "Cs"}
_OF_WINDOWS = frozenset(range(0x80, 0xA0))  # bytes
_FEW = 0.02  # of the bytes of a text of 8 bits a character are control characters, at most
_MANY = 0.05  # of the characters of a text are wrong, at most
_WESTERN = 0.3  # of the bytes of a text in Latin letters are not ASCII, at most


def conversion(content: bytes) -> str:
    """Return the command that converts a file to UTF-8, its encoding guessed from the bytes where that is possible.

    >>> conversion("un été\\n".encode("latin-1"))
    '`iconv -f LATIN1 -t UTF-8` if its language is a Western European one'
    >>> conversion("中文".encode("utf-16"))
    '`iconv -f UTF-16 -t UTF-8`'
    """
    wide = wide_encoding(content)
    if wide is not None:
        return f"`iconv -f {wide} -t UTF-8`"
    sample = content[:_SAMPLE]
    if sum(byte >= 0x80 for byte in sample) <= _WESTERN * len(sample):
        # Windows has quotation marks and dashes where Latin-1 has control characters, into which they would be turned.
        name = "LATIN1" if _OF_WINDOWS.isdisjoint(content) else "WINDOWS-1252"
        return f"`iconv -f {name} -t UTF-8` if its language is a Western European one"
    return (
        "`iconv -f ENCODING -t UTF-8`, where ENCODING is the one that it was written in, such as GB18030, SHIFT_JIS, "
        "EUC-KR, WINDOWS-1251 or UTF-16LE"
    )


def wide_encoding(content: bytes) -> str | None:
    """Guess whether bytes are UTF-16 or UTF-32, by their byte order mark or else by decoding them; None for neither."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            return name
    sample = content[: _SAMPLE if len(content) > _SAMPLE else len(content) // 4 * 4 or len(content) // 2 * 2]
    if wrong_share(sample.decode("ascii", "ignore")) <= _FEW:
        return None
    # Of the wrong order of bytes, characters are from everywhere; of the right one, from a few scripts.
    num_pages = {}  # of 256 characters each
    for name in _WIDE:
        if len(content) % (4 if "32" in name else 2) == 0:
            text = sample.decode(name, "replace")
            if wrong_share(text) <= _MANY:
                num_pages[name] = len({ord(each) >> 8 for each in text})
    return min(num_pages, key=num_pages.__getitem__, default=None)


def require_characters(text: str, source: str) -> None:
    """Refuse a text that holds half of a surrogate pair, which is no character and cannot be written in UTF-8.

    Args:
        text: the text.
        source: what to call it in the message.

    Raises:
        InputError: it holds one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        place = error.start
        raise InputError(
            f"{source} holds half of a surrogate pair, U+{ord(text[place]):04X}, in line "
            f"{text.count(chr(10), 0, place) + 1:,}, expected characters: decode it by its own encoding, or remove it"
        ) from None


def wrong_share(text: str, categories: Set[str] = _WRONG) -> float:
    """Return the share of characters that no text contains among a text's first ones: above 0.05 it is no text.

    Args:
        text: the text.
        categories: those that such characters are of, in Unicode.
    """
    sample = text[:_SAMPLE]
    wrong = {each: each == "\ufffd" or unicodedata.category(each) in categories for each in set(sample)}
    known = wrong | dict.fromkeys(_OF_TEXTS, False)
    return sum(known.get(each, False) for each in sample) / max(len(sample), 1)
