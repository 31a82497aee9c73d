"""Downloads against a real server that misbehaves."""

import random
import re
from pathlib import Path
from typing import Any

import pytest

from sgrnn.data.digests import bytes_digest
from sgrnn.data.fetching import download
from sgrnn.errors import InputError

CONTENT = random.Random(0).randbytes(300_000)
DIGEST = bytes_digest(CONTENT)


def attempt(server: Any, path: Path, name: str = "file", digest: str = DIGEST, **options: Any) -> None:
    download(server.url + name, path, digest, **{"timeout": 5.0, "pause": 0.0, **options})


@pytest.fixture
def path(server: Any, tmp_path: Path) -> Path:
    server.files["file"] = CONTENT
    return tmp_path / "file"


def test_what_arrives_is_the_file_and_nothing_is_left_beside_it(server: Any, path: Path) -> None:
    attempt(server, path)
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert server.agents == {"sgrnn"}


def test_a_truncated_transfer_goes_on_where_it_stopped(server: Any, path: Path) -> None:
    server.faults = ["truncate", "truncate"]
    attempt(server, path)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("file", None), ("file", "bytes=150000-"), ("file", "bytes=225000-")]


def test_progress_restores_the_patience(server: Any, path: Path) -> None:
    server.faults = ["truncate"] * 8
    attempt(server, path, retries=0)
    assert path.read_bytes() == CONTENT


def test_a_part_left_by_a_process_that_died_is_completed(server: Any, path: Path) -> None:
    path.with_name("file.part").write_bytes(CONTENT[:1000])
    attempt(server, path)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("file", "bytes=1000-")]


def test_a_complete_part_needs_no_further_byte(server: Any, path: Path) -> None:
    path.with_name("file.part").write_bytes(CONTENT)
    attempt(server, path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("stale", [b"another version", CONTENT + b"more"])
def test_a_part_of_another_file_is_thrown_away(server: Any, path: Path, stale: bytes) -> None:
    path.with_name("file.part").write_bytes(stale)
    attempt(server, path)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1] == ("file", None)


def test_a_server_without_ranges_sends_the_whole_file_again(server: Any, path: Path) -> None:
    server.ranges, server.faults = False, ["truncate"]
    attempt(server, path)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("file", None), ("file", "bytes=150000-")]


def test_a_server_without_ranges_that_always_truncates_is_given_up(server: Any, path: Path) -> None:
    server.ranges, server.faults = False, ["truncate"] * 9
    with pytest.raises(InputError, match=r"closed after 150,000 of 300,000 bytes"):
        attempt(server, path, retries=2)
    assert len(server.requests) == 4  # the first attempt brought something new


def test_a_wrong_range_starts_over(server: Any, path: Path) -> None:
    server.faults = ["truncate", "wrong-range"]
    attempt(server, path)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1] == ("file", None)


def test_a_stall_is_noticed_and_what_had_arrived_is_kept(server: Any, path: Path) -> None:
    server.faults = ["stall"]
    attempt(server, path, timeout=0.3)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("file", None), ("file", "bytes=150000-")]


def test_a_lasting_stall_is_an_error(server: Any, path: Path) -> None:
    server.files["file"], server.faults = b"x", ["stall"] * 2
    with pytest.raises(InputError, match=r"/file could not be downloaded: nothing arrived for 0\.1 seconds"):
        attempt(server, path, timeout=0.1, retries=1)


def test_a_busy_server_is_asked_again(server: Any, path: Path) -> None:
    server.faults = ["busy", "busy"]
    attempt(server, path)
    assert path.read_bytes() == CONTENT


def test_a_server_that_stays_busy_is_an_error(server: Any, path: Path) -> None:
    server.faults = ["busy"] * 3
    with pytest.raises(InputError, match="could not be downloaded: the server answered 503"):
        attempt(server, path, retries=2)
    assert len(server.requests) == 3


def test_redirects_are_followed(server: Any, path: Path) -> None:
    server.redirects = {"old": "/older", "older": server.url + "file"}
    attempt(server, path, "old")
    assert path.read_bytes() == CONTENT


def test_corrupt_bytes_never_take_the_name(server: Any, path: Path) -> None:
    server.faults = ["corrupt"]
    with pytest.raises(
        InputError, match=rf"/file is not the expected file: expected {DIGEST}, got .*\(300,000 bytes\)"
    ):
        attempt(server, path)
    assert list(path.parent.iterdir()) == []


def test_corruption_after_a_resumption_is_tried_from_scratch_once(server: Any, path: Path) -> None:
    server.faults = ["truncate", "corrupt", "truncate", "corrupt"]
    with pytest.raises(InputError, match="is not the expected file"):
        attempt(server, path)
    assert [asked for _, asked in server.requests] == [None, "bytes=150000-", None, "bytes=150000-"]


def test_a_missing_file_is_not_asked_for_twice(server: Any, path: Path) -> None:
    with pytest.raises(InputError, match="/nothing could not be downloaded: the server answered 404"):
        attempt(server, path, "nothing")
    assert len(server.requests) == 1


def test_an_unreachable_server_is_an_error(path: Path) -> None:
    # Port 9 (discard) is closed on any machine without antique services.
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/file could not be downloaded"):
        download("http://127.0.0.1:9/file", path, DIGEST, retries=1, pause=0.0)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/file", "file"])
def test_other_kinds_of_address_are_refused(path: Path, url: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"{url} is not an address to download from")):
        download(url, path, DIGEST)
