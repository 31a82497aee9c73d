"""A benchmark takes no value that means nothing, and says what is wrong without a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
import records

BENCHMARKS = Path(records.__file__).parent


def refused(*arguments: str) -> str:
    """The last line of what a benchmark says when it ends with status 2."""
    command = [sys.executable, str(BENCHMARKS / arguments[0]), *arguments[1:]]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
    return ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digits.py", "--clips", "-1"), "argument --clips: must be a number above 0, got -1"),
        (("digits.py", "--rates", "nan"), "argument --rates: must be a number above 0, got nan"),
        (("digits.py", "--digits", "5"), "argument --digits: must be at least those of an update, 1600, got 5"),
        (("digits.py", "--seeds", "one"), "argument --seeds: must be a whole number from 0 on, got one"),
        (("hierarchy.py", "--windows", "0"), "argument --windows: must be a whole number from 1 on, got 0"),
        (("quality.py", "--jobs", "1.5"), "argument --jobs: must be a whole number from 1 on, got 1.5"),
        (("speed.py", "--rounds", "1"), "argument --rounds: must be a whole number from 2 on, got 1"),
        (("threads.py", "--busy", "-1"), "argument --busy: must be a whole number from 0 on, got -1"),
        (("speed.py", "--models", "2x"), "argument --models: must be a whole number from 1 on, got "),
    ],
)
def test_values_that_mean_nothing_are_refused(arguments: tuple[str, ...], message: str) -> None:
    assert refused(*arguments) == f"{arguments[0]}: error: {message}"


def test_what_is_missing_is_named_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGRNN_DATA", str(tmp_path))
    for name in ("digits.py", "hierarchy.py"):
        assert "sgrnn data fetch" in refused(name, "--quick", "--out", str(tmp_path / name))
