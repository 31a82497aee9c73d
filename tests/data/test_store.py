"""The data folder: importing, checking."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sgrnn.data import data_folder, fetch, status, verify
from sgrnn.data.atomic import atomic_write, bytes_digest, flush
from sgrnn.data.catalog import CATALOG, CatalogFile, Entry
from sgrnn.errors import InputError

PTB_FILES = ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"]


def test_the_data_folder_is_the_one_given_else_the_environment_else_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SGRNN_DATA", str(tmp_path))
    assert data_folder(Path("given")) == Path("given")
    assert data_folder() == tmp_path
    monkeypatch.delenv("SGRNN_DATA")
    assert data_folder() == Path("data")
    assert data_folder(Path("~/corpora")) == Path.home() / "corpora"
    assert data_folder(Path("~nobody-of-this-name/x")) == Path("~nobody-of-this-name/x")


@pytest.mark.parametrize("beneath", ["", "corpora/penn/data"])
def test_files_are_imported_from_where_people_keep_them(stand_ins: Path, tmp_path: Path, beneath: str) -> None:
    source = tmp_path / "mine" / beneath
    source.mkdir(parents=True)
    for name in PTB_FILES:
        (source / name).symlink_to(stand_ins / "ptb" / name)
    paths = fetch("ptb", tmp_path / "data", source=tmp_path / "mine")
    assert all(path.is_file() and not path.is_symlink() for path in paths)
    assert verify("ptb", tmp_path / "data").state == "present"


def test_an_intact_file_is_preferred_to_an_edited_one_of_the_same_name(stand_ins: Path, tmp_path: Path) -> None:
    (tmp_path / "ptb.train.txt").write_text("edited\n")
    (tmp_path / "original").symlink_to(stand_ins / "ptb")
    fetch("ptb", tmp_path / "data", source=tmp_path)
    assert verify("ptb", tmp_path / "data").state == "present"


def test_an_edited_file_is_refused_and_named(tmp_path: Path) -> None:
    for name in PTB_FILES:
        (tmp_path / name).write_text("edited\n")
    message = r"ptb\.train\.txt is not the published ptb\.train\.txt: expected sha256:fcea.*, got sha256:.* \(7 bytes\)"
    with pytest.raises(InputError, match=message):
        fetch("ptb", tmp_path / "data", source=tmp_path)
    assert status("ptb", tmp_path / "data").state == "absent"


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not hold ptb\.train\.txt, ptb\.valid\.txt, ptb\.test\.txt"):
        fetch("ptb", tmp_path / "data", source=tmp_path)
    with pytest.raises(InputError, match=r"wiki\.test\.tokens, or wikitext-2-v1\.zip"):
        fetch("wikitext-2", tmp_path / "data", source=tmp_path)
    with pytest.raises(InputError, match="nowhere is not a folder; --from expects"):
        fetch("ptb", tmp_path / "data", source=tmp_path / "nowhere")


def test_the_published_files_have_the_digests_of_the_catalog(
    ptb_folder: Path, mnist_folder: Path, tmp_path: Path
) -> None:
    assert verify("ptb", ptb_folder).num_bytes == 5_101_618 + 399_782 + 449_945
    assert len(fetch("mnist", tmp_path, source=mnist_folder)) == 4
    assert verify("mnist", tmp_path).state == "present"


def make_archived_entry(monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes], base_url: str) -> bytes:
    """Add an entry of the shape of wikitext-2 to the catalog and return its archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"tiny/{name}", content)
    entry = Entry(
        name="tiny",
        description="",
        terms="",
        base_url=base_url,
        archive=CatalogFile("tiny.zip", bytes_digest(buffer.getvalue())),
        files=tuple(CatalogFile(name, bytes_digest(content, "sha1")) for name, content in members.items()),
    )
    monkeypatch.setitem(CATALOG, "tiny", entry)
    return buffer.getvalue()


@pytest.mark.parametrize("by_hand", [False, True])
def test_an_archive_is_fetched_and_unpacked(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by_hand: bool
) -> None:
    members = {"train.tokens": b"a b\n", "valid.tokens": b"c\n"}
    archive = make_archived_entry(monkeypatch, members, server.url)
    server.files = {"tiny.zip": archive}
    (tmp_path / "tiny.zip").write_bytes(archive)
    paths = fetch("tiny", tmp_path / "data", tmp_path if by_hand else None)
    assert {path.name: path.read_bytes() for path in paths} == members
    assert sorted(paths[0].parent.iterdir()) == sorted(paths), "the archive is not kept"
    assert server.requests == ([] if by_hand else ["tiny.zip"])
    (tmp_path / "tiny.zip").write_bytes(archive[:-1])
    paths[0].unlink()
    with pytest.raises(InputError, match=r"tiny\.zip is not the published tiny\.zip: expected sha256:"):
        fetch("tiny", tmp_path / "data", tmp_path)


def test_names_that_cannot_be_fetched_are_explained(tmp_path: Path) -> None:
    for name, message in (
        ("penn", "no data named 'penn'; expected one of ptb, wikitext-2, mnist or ptb-char"),
        ("python-docs", "python-docs comes with Python: it needs no fetching"),
        ("text", "text stands for your own files: name them in the recipe"),
    ):
        for action in (fetch, verify, status):
            with pytest.raises(InputError, match=message):
                action(name, tmp_path)


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way")
    with pytest.raises(InputError, match=r"ptb cannot be created: .*--data DIR or the environment variable"):
        fetch("ptb", tmp_path / "data")


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write(b"first")
        second.write(b"second")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"first", "the last one to finish wins"

    def write_half() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_leads_to_the_file_and_what_is_none_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    for content in (b"new", b"again"):
        with atomic_write(tmp_path / "link") as file:
            file.write(content)
        assert (tmp_path / "file").read_bytes() == content
    assert (tmp_path / "link").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    ends = os.pipe()
    for path in (tmp_path / "pipe", Path(os.devnull), Path(f"/dev/fd/{ends[1]}")):
        with pytest.raises(OSError, match="is a device or a pipe, expected the name of a file"), atomic_write(path):
            pass
        assert not path.is_file()
    for end in ends:
        os.close(end)


def test_on_windows_files_are_flushed_as_written_and_folders_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    opened, posix_open = [], os.open

    def windows_open(path: Path, flags: int) -> int:
        opened.append((path, flags))
        return posix_open(path, flags)

    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        windows.setattr(os, "open", windows_open)
        flush(tmp_path / "file")
        flush(tmp_path)
    assert opened == [(tmp_path / "file", os.O_RDWR)]
