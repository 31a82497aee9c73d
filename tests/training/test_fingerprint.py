"""The fingerprint of a run: commits as git knows them, and sessions only where something has changed."""

import subprocess
from pathlib import Path

import pytest

from sgrnn.errors import InputError
from sgrnn.training.fingerprint import FINGERPRINT, commit_of, read_fingerprint, with_conditions


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_checkout_has_a_commit_and_says_whether_it_was_modified(tmp_path: Path) -> None:
    bare = tmp_path / "installed"
    bare.mkdir()
    for name in ("clean", "modified"):
        folder = tmp_path / name
        folder.mkdir()
        git(folder, "init", "--quiet")
        (folder / "file.py").write_text("1\n")
        git(folder, "add", "file.py")
        git(folder, "commit", "--quiet", "--message", "one")
        git(folder, "tag", "v1")
        (folder / "untracked").write_text("2\n")
    (tmp_path / "modified" / "file.py").write_text("3\n")
    assert commit_of(tmp_path / "clean") == git(tmp_path / "clean", "rev-parse", "HEAD")
    assert commit_of(tmp_path / "modified") == git(tmp_path / "modified", "rev-parse", "HEAD") + " modified"
    assert commit_of(bare) is None
    (bare / ".git").mkdir()
    commit_of.cache_clear()
    assert commit_of(bare) is None, "no repository that git can read"


def test_a_session_is_added_where_its_conditions_are_new() -> None:
    first = {"time": "1", "update": 0, "command": "a", "torch": "2.13", "threads": 1}
    fingerprint = with_conditions({"texts": {}, "conditions": []}, first)
    assert fingerprint == {"texts": {}, "conditions": [first]}
    assert with_conditions(fingerprint, first | {"time": "2", "update": 5, "command": "b"}) == fingerprint
    other = first | {"time": "2", "update": 5, "threads": 2}
    assert with_conditions(fingerprint, other)["conditions"] == [first, other]
    assert with_conditions(with_conditions(fingerprint, other), first)["conditions"] == [first, other, first]


@pytest.mark.parametrize(
    "content",
    [
        "", "[1]", "{}", '{"texts": 1, "conditions": []}', '{"texts": {}, "conditions": [1]}',
        '{"texts": {}, "conditions": [{}]}',
    ],
)  # fmt: skip
def test_a_damaged_fingerprint_is_named_with_the_remedy(tmp_path: Path, content: str) -> None:
    assert read_fingerprint(tmp_path) == {"texts": {}, "conditions": []}
    (tmp_path / FINGERPRINT).write_text(content)
    with pytest.raises(InputError) as refused:
        read_fingerprint(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / FINGERPRINT} is damaged: ")
    assert str(refused.value).endswith(f"; remove it, and write it again with `sgrnn resume {tmp_path}`")
