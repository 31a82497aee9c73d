"""Text files: what is accepted, what is refused, where texts are cut."""

from pathlib import Path

import pytest

from sgrnn.data.text_files import read_text, split_text
from sgrnn.errors import InputError


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"one\ntwo\n", "one\ntwo\n"),
        (b"one\r\ntwo\r\n", "one\ntwo\n"),
        (b"one\rtwo", "one\ntwo\n"),
        (b"\xef\xbb\xbfone\n", "one\n"),
        ("naïve — 漢字\n".encode(), "naïve — 漢字\n"),
        ("a\u2028b\x0bc\n".encode(), "a\u2028b\x0bc\n"),  # only \n ends a line
    ],
)
def test_line_ends_are_made_uniform_and_the_rest_is_kept(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    assert read_text(path) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "text.txt is empty; expected UTF-8 text"),
        (b" \n\n", "text.txt is empty; expected UTF-8 text"),
        (b"one\ntwo\0", r"text.txt is not text: a NUL byte at byte 7 \(line 2\).*iconv -f UTF-16"),
        ("one\n".encode("utf-16"), r"not text: a NUL byte at byte 3 \(line 1\)"),
        (b"one\ntwo\ncaf\xe9\n", r"not UTF-8: byte 0xe9 at byte 11 \(line 3\).*iconv -f LATIN1"),
    ],
)
def test_what_is_not_text_is_refused_with_its_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_text(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.txt does not exist; expected a UTF-8 text file"):
        read_text(tmp_path / "nothing.txt")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_text(tmp_path)


@pytest.mark.parametrize("text", ["".join(f"line {n}\n" for n in range(1000)), "word " * 2000 + "\n"])
def test_the_pieces_are_the_text_cut_at_its_joints_in_the_given_proportion(text: str) -> None:
    pieces = split_text(text, 0.1, 0.2, "example")
    assert list(pieces) == ["train", "valid", "test"]
    assert "".join(pieces.values()) == text
    assert all(piece[-1].isspace() for piece in pieces.values())
    for split, fraction in (("train", 0.7), ("valid", 0.1), ("test", 0.2)):
        assert abs(len(pieces[split]) / len(text) - fraction) < 0.002


def test_without_a_test_fraction_there_is_no_test_piece() -> None:
    assert split_text("a\nb\n", 0.5, 0.0, "example") == {"train": "a\n", "valid": "b\n"}


@pytest.mark.parametrize(("valid", "test"), [(0.0, 0.1), (0.5, 0.5), (0.1, -0.1), (1.5, 0.0)])
def test_impossible_fractions_are_refused(valid: float, test: float) -> None:
    with pytest.raises(InputError, match=f"valid_fraction must be above 0.*got {valid:g} and {test:g}"):
        split_text("a\nb\nc\n", valid, test, "example")


def test_a_text_too_short_to_be_cut_is_refused() -> None:
    with pytest.raises(InputError, match=r"book\.txt is too short to be split: valid would be empty \(11 char"):
        split_text("one\nlonger\n", 0.05, 0.05, "book.txt")
