"""Downloads from a server that fails: only expected files take their names, and the message says what to do."""

import logging
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pooch
import pytest

from sgrnn.data import fetch, status, verify
from sgrnn.data.catalog import CATALOG
from sgrnn.errors import InputError

PTB_FILES = ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"]


@pytest.fixture(autouse=True)
def mirror(server: Any, stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog's files at the server's address, and no pause before another attempt."""
    for name in ("ptb", "mnist"):
        server.files |= {path.name: path.read_bytes() for path in (stand_ins / name).iterdir()}
        monkeypatch.setitem(CATALOG, name, replace(CATALOG[name], base_url=server.url))
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)


def test_a_download_is_complete_intact_and_not_repeated(
    server: Any, stand_ins: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for handler in pooch.get_logger().handlers:
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(sys.stderr)
    assert status("ptb", tmp_path).state == "absent"
    paths = fetch("ptb", tmp_path)
    assert [path.name for path in paths] == PTB_FILES
    assert [path.read_bytes() for path in paths] == [server.files[name] for name in PTB_FILES]
    assert sorted(paths[0].parent.iterdir()) == sorted(paths), "nothing is left beside them"
    (tmp_path / "any").touch()
    assert {path.stat().st_mode for path in paths} == {(tmp_path / "any").stat().st_mode}, "others may read them"
    assert verify("ptb", tmp_path).num_bytes == sum(len(server.files[name]) for name in PTB_FILES)
    fetch("ptb", tmp_path)
    assert server.requests == PTB_FILES
    assert server.agents == {"sgrnn"}
    assert capfd.readouterr() == ("", "")


def test_only_what_is_missing_or_damaged_is_downloaded(server: Any, stand_ins: Path, tmp_path: Path) -> None:
    fetch("ptb", tmp_path, source=stand_ins)
    (tmp_path / "ptb" / "ptb.valid.txt").unlink()
    assert status("ptb", tmp_path).state == "incomplete"
    (tmp_path / "ptb" / "ptb.test.txt").write_text("edited\n")
    assert status("ptb", tmp_path).state == "damaged"
    with pytest.raises(InputError, match=r"valid\.txt is missing, ptb\.test\.txt is damaged .*sgrnn data fetch ptb"):
        verify("ptb", tmp_path)
    fetch("ptb-char", tmp_path)
    assert server.requests == ["ptb.valid.txt", "ptb.test.txt"]
    assert verify("ptb-char", tmp_path).state == "present"


def test_packed_files_stay_packed(tmp_path: Path) -> None:
    fetch("mnist", tmp_path)
    assert verify("mnist", tmp_path).state == "present"


@pytest.mark.parametrize("fault", ["truncate", "corrupt", "busy", "stall"])
def test_a_download_that_fails_is_tried_again(server: Any, tmp_path: Path, fault: str) -> None:
    server.faults = [fault, fault]
    fetch("ptb", tmp_path, timeout=0.2)
    assert server.requests == ["ptb.train.txt"] * 2 + PTB_FILES
    assert verify("ptb", tmp_path).state == "present"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("truncate", r"IncompleteRead\(\d+ bytes read, \d+ more expected\)"),
        ("corrupt", r"SHA256 hash .* does not match the known hash: expected sha256:\w{64} but got \w{64}"),
        ("busy", "503 Server Error: Service Unavailable"),
        ("stall", "timed out"),
        ("absent", "404 Client Error: Not Found"),
        ("unreachable", "Connection refused"),
    ],
)
def test_a_download_that_fails_for_good_names_reason_and_remedy_and_leaves_nothing(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, reason: str
) -> None:
    server.faults = ["", fault]
    if fault == "absent":
        del server.files["ptb.valid.txt"]
    if fault == "unreachable":  # port 9 (discard) is closed on any machine without antique services
        server.url = "http://127.0.0.1:9/"
        monkeypatch.setitem(CATALOG, "ptb", replace(CATALOG["ptb"], base_url=server.url))
    name = "ptb.train.txt" if fault == "unreachable" else "ptb.valid.txt"
    with pytest.raises(
        InputError,
        match=rf"^{server.url}{name} could not be downloaded: {reason}.*; try again later, or get ptb\.train\.txt, "
        r"ptb\.valid\.txt, ptb\.test\.txt by other means and .* `sgrnn data fetch ptb --from FOLDER`$",
    ):
        fetch("ptb", tmp_path, timeout=0.2, retries=0)
    assert list((tmp_path / "ptb").iterdir()) == []


def test_two_at_once_do_no_harm(tmp_path: Path) -> None:
    threads = [threading.Thread(target=fetch, args=("ptb", tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify("ptb", tmp_path).state == "present"
    assert sorted(path.name for path in (tmp_path / "ptb").iterdir()) == sorted(PTB_FILES)
