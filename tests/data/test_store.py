"""The data folder: fetching, importing, checking."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sgrnn.data import data_folder, fetch, status, verify
from sgrnn.data.catalog import CATALOG, CatalogFile, Entry
from sgrnn.data.digests import bytes_digest
from sgrnn.errors import InputError

PTB_FILES = ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"]
QUICK = {"timeout": 5.0, "retries": 0, "pause": 0.0}


def serve_ptb(server: Any, folder: Path) -> None:
    server.files = {name: (folder / "ptb" / name).read_bytes() for name in PTB_FILES}


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def add_archived_entry(monkeypatch: pytest.MonkeyPatch, archive: bytes, files: dict[str, bytes]) -> None:
    """Add an entry of the shape of wikitext-2 to the catalog."""
    entry = Entry(
        name="tiny",
        description="",
        terms="",
        base_url="",
        archive=CatalogFile("tiny.zip", bytes_digest(archive)),
        files=tuple(CatalogFile(name, bytes_digest(content, "sha1")) for name, content in files.items()),
    )
    monkeypatch.setitem(CATALOG, "tiny", entry)


def test_the_data_folder_is_the_one_given_else_the_environment_else_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SGRNN_DATA", str(tmp_path))
    assert data_folder(Path("given")) == Path("given")
    assert data_folder() == tmp_path
    monkeypatch.delenv("SGRNN_DATA")
    assert data_folder() == Path("data")
    assert data_folder(Path("~/corpora")) == Path.home() / "corpora"


def test_a_download_is_complete_intact_and_not_repeated(server: Any, stand_ins: Path, tmp_path: Path) -> None:
    serve_ptb(server, stand_ins)
    assert status("ptb", tmp_path).state == "absent"
    paths = fetch("ptb", tmp_path, base_url=server.url)
    assert [path.name for path in paths] == PTB_FILES
    found = verify("ptb", tmp_path)
    assert (found.state, found.num_bytes) == ("present", sum(map(len, server.files.values())))
    fetch("ptb", tmp_path, base_url=server.url)
    assert len(server.requests) == 3


def test_only_what_is_missing_or_damaged_is_fetched(server: Any, stand_ins: Path, tmp_path: Path) -> None:
    serve_ptb(server, stand_ins)
    fetch("ptb", tmp_path, source=stand_ins)
    (tmp_path / "ptb" / "ptb.valid.txt").unlink()
    assert status("ptb", tmp_path).state == "incomplete"
    (tmp_path / "ptb" / "ptb.test.txt").write_text("edited\n")
    assert status("ptb", tmp_path).state == "damaged"
    with pytest.raises(
        InputError, match=r"ptb\.valid\.txt is missing, ptb\.test\.txt is damaged .*sgrnn data fetch ptb"
    ):
        verify("ptb", tmp_path)
    fetch("ptb-char", tmp_path, base_url=server.url)
    assert [name for name, _ in server.requests] == ["ptb.valid.txt", "ptb.test.txt"]
    assert verify("ptb-char", tmp_path).state == "present"


def test_a_failed_download_says_how_to_supply_files_by_hand(server: Any, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"404.*get ptb\.train\.txt, .* import them with `sgrnn data fetch ptb --from FOLDER`",
    ):
        fetch("ptb", tmp_path, base_url=server.url, **QUICK)


@pytest.mark.parametrize("beneath", ["", "ptb", "ptb-word", "corpora/penn/data"])
def test_files_are_found_where_people_keep_them(stand_ins: Path, tmp_path: Path, beneath: str) -> None:
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
    with pytest.raises(InputError, match=r"ptb\.train\.txt is not the published ptb\.train\.txt: expected sha256:fcea"):
        fetch("ptb", tmp_path / "data", source=tmp_path)
    assert status("ptb", tmp_path / "data").state == "absent"


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not hold ptb\.train\.txt, ptb\.valid\.txt, ptb\.test\.txt"):
        fetch("ptb", tmp_path / "data", source=tmp_path)
    with pytest.raises(InputError, match=r"wiki\.test\.tokens, or wikitext-2-v1\.zip"):
        fetch("wikitext-2", tmp_path / "data", source=tmp_path)
    with pytest.raises(InputError, match="nowhere is not a folder; --from expects"):
        fetch("ptb", tmp_path / "data", source=tmp_path / "nowhere")


def test_the_published_penn_treebank_has_the_digests_of_the_catalog(ptb_folder: Path) -> None:
    found = verify("ptb", ptb_folder)
    assert (found.state, found.num_bytes) == ("present", 5_101_618 + 399_782 + 449_945)


def test_the_published_mnist_has_the_digests_of_the_catalog(mnist_folder: Path, tmp_path: Path) -> None:
    assert len(fetch("mnist", tmp_path, source=mnist_folder)) == 4
    assert verify("mnist", tmp_path).state == "present"


@pytest.mark.parametrize("by_hand", [False, True])
def test_an_archive_is_fetched_and_unpacked(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by_hand: bool
) -> None:
    files = {"train.tokens": b"a b\n", "valid.tokens": b"c\n"}
    archive = zip_of({f"tiny/{name}": content for name, content in files.items()})
    add_archived_entry(monkeypatch, archive, files)
    server.files = {"tiny.zip": archive}
    (tmp_path / "tiny.zip").write_bytes(archive)
    paths = fetch("tiny", tmp_path / "data", tmp_path if by_hand else None, base_url=server.url)
    assert {path.name: path.read_bytes() for path in paths} == files
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)  # the archive is not kept
    assert len(server.requests) == (0 if by_hand else 1)


def test_an_archive_with_another_file_inside_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archive = zip_of({"train.tokens": b"other\n"})
    add_archived_entry(monkeypatch, archive, {"train.tokens": b"a b\n"})
    (tmp_path / "tiny.zip").write_bytes(archive)
    with pytest.raises(InputError, match=r"tiny\.zip holds another train\.tokens than expected \(sha1:"):
        fetch("tiny", tmp_path / "data", source=tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("penn", "no data named 'penn'; expected one of ptb, wikitext-2, mnist or ptb-char"),
        ("python-docs", "python-docs comes with Python: it needs no fetching"),
        ("text", "text stands for your own files: name them in the recipe"),
    ],
)
def test_names_that_cannot_be_fetched_are_explained(tmp_path: Path, name: str, message: str) -> None:
    for action in (fetch, verify, status):
        with pytest.raises(InputError, match=message):
            action(name, tmp_path)


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way")
    with pytest.raises(InputError, match=r"ptb cannot be created: .*--data DIR or the environment variable"):
        fetch("ptb", tmp_path / "data")
