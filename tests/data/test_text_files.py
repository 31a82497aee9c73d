"""Text files: what is accepted, what is refused, where texts are cut."""

from pathlib import Path

import pytest

from sgrnn.data.text_files import read_text, split_text
from sgrnn.errors import InputError


def test_line_ends_are_made_uniform_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    for content, text in (
        (b"one\ntwo\n", "one\ntwo\n"),
        (b"one\r\ntwo\r\n", "one\ntwo\n"),
        (b"one\rtwo", "one\ntwo\n"),
        (b"\xef\xbb\xbfone\n", "one\n"),
        ("naïve — 漢字\n".encode(), "naïve — 漢字\n"),
        ("a\u2028b\x0bc\n".encode(), "a\u2028b\x0bc\n"),  # only \n ends a line
    ):
        path.write_bytes(content)
        assert read_text(path) == text


ZH = "今天天气很好我们去公园散步吧然后吃饭睡觉。他说这本书很有意思。" * 20


def test_what_is_not_text_is_refused_with_its_place(tmp_path: Path) -> None:
    for content, message in (
        (b" \n\n", "text.txt is empty; expected UTF-8 text"),
        (b"\xef\xbb\xbf\n", "text.txt is empty; expected UTF-8 text"),
        (b"one\ntwo\0", r"text.txt is not text: a NUL byte at byte 7 \(line 2\).*iconv -f UTF-16"),
        (b"one\ntwo\ncaf\xe9\n", r"not UTF-8: byte 0xe9 at byte 11 \(line 3\).*iconv -f LATIN1"),
        (b"\x93so\x94, he said \x97 caf\xe9\n", r"byte 0x93 at byte 0 .*`iconv -f WINDOWS-1252 -t UTF-8` if its"),
        ("one\n".encode("utf-16-be"), r"a NUL byte at byte 0 .*it looks like UTF-16BE: .*`iconv -f UTF-16BE -t UTF-8`"),
        ("one\n".encode("utf-32"), r"a NUL byte .*`iconv -f UTF-32 -t UTF-8`"),
        (
            ZH.encode("utf-16"),
            r"not UTF-8: byte 0xff at byte 0 \(line 1\).*with `iconv -f UTF-16 -t UTF-8`$",
        ),
        (ZH.encode("utf-16-le"), r"is not UTF-8: .*convert it with `iconv -f UTF-16LE -t UTF-8`$"),
        (
            "привет".encode("utf-16-be"),
            r"50% of its characters are control char.*`iconv -f UTF-16BE -t UTF-8`",
        ),
        ("Привет, мир".encode("koi8-r"), r"is not UTF-8: .*`iconv -f ENCODING -t UTF-8`, where ENCODING"),
        (b"\x01\x02\x03\x04 text", r"is not text: 44% of its characters are control characters"),
    ):
        path = tmp_path / "text.txt"
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_text(path)


def test_characters_that_this_python_does_not_know_and_private_ones_are_text(tmp_path: Path) -> None:
    for text in ("\U0001e4d0\U0001e4d1 \U0001e4d2\n" * 30, "\ue000\uf8ff\n" * 30):  # Nag Mundari is of Unicode 15
        (tmp_path / "text.txt").write_text(text, "utf-8")
        assert read_text(tmp_path / "text.txt") == text


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.txt does not exist; expected a UTF-8 text file"):
        read_text(tmp_path / "nothing.txt")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_text(tmp_path)


def test_the_pieces_are_the_text_cut_at_its_joints_in_the_given_proportion() -> None:
    for text in (
        "".join(f"line {n}\n" for n in range(1000)),
        "word " * 2000 + "\n",
    ):
        pieces = split_text(text, 0.1, 0.2, "example")
        assert list(pieces) == ["train", "valid", "test"]
        assert "".join(pieces.values()) == text
        assert all(piece[-1].isspace() for piece in pieces.values())
        for split, fraction in (("train", 0.7), ("valid", 0.1), ("test", 0.2)):
            assert abs(len(pieces[split]) / len(text) - fraction) < 0.002


def test_without_a_test_fraction_there_is_no_test_piece() -> None:
    assert split_text("a\nb\n", 0.5, 0.0, "example") == {"train": "a\n", "valid": "b\n"}


def test_impossible_fractions_are_refused() -> None:
    for valid, test in ((0.0, 0.1), (0.5, 0.5), (0.1, -0.1), (1.5, 0.0)):
        with pytest.raises(InputError, match=f"valid_fraction must be above 0.*got {valid:g} and {test:g}"):
            split_text("a\nb\nc\n", valid, test, "example")


def test_lines_too_long_to_be_cut_are_named() -> None:
    for text, message in (
        (
            "x" * 5000 + "\n",
            r"it is one line of 5,000 characters without a blank, .*; break it into lines",
        ),
        (
            "a " + "x" * 5000 + "\n",
            r"valid would be empty, since cuts fall behind the end of a word, and of its 2",
        ),
        (
            "a\n" + "x " * 5000 + "\n",
            r"cuts fall behind the end of a line, and of its 2 lines the longest has 10,000",
        ),
    ):
        with pytest.raises(InputError, match=rf"^book\.txt cannot be split: .*{message}") as error:
            split_text(text, 0.05, 0.05, "book.txt")
        assert "too short" not in str(error.value)
        assert "separate files, data.valid and data.test" in str(error.value)


def test_a_text_too_short_to_be_cut_is_refused() -> None:
    with pytest.raises(InputError, match=r"book\.txt is too short to be split: valid would be empty \(11 char"):
        split_text("one\nlonger\n", 0.05, 0.05, "book.txt")
