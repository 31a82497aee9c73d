"""What pytest does where the real Penn Treebank and MNIST are not, or the folder that should hold them is wrong."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent
TESTS = """
def test_words(ptb_folder):
    assert (ptb_folder / "ptb" / "ptb.train.txt").is_file()


def test_digits(mnist_folder):
    pass


def test_else():
    pass
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Three tests beside our conftest.py, with no data anywhere."""
    for name in ("conftest", "stand_in"):
        pytester.makepyfile(**{f"tests/{name}": (HERE / f"{name}.py").read_text("utf-8")})
    pytester.makepyfile(**{"tests/test_some": TESTS})
    monkeypatch.delenv("SGRNN_TEST_DATA", raising=False)
    monkeypatch.setenv("SGRNN_DATA", "nothing-here")
    return pytester


def test_without_data_tests_skip_and_the_end_says_how_many_and_how_to_get_it(session: pytest.Pytester) -> None:
    result = session.runpytest_inprocess("-rs", "--no-fold-skipped", "tests")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "2 tests were skipped for want of data: run `sgrnn data fetch ptb mnist`, or set SGRNN_TEST_DATA to a *",
            "SKIPPED tests/test_some.py::test_words - *needs the Penn Treebank",
            "SKIPPED tests/test_some.py::test_digits - *needs MNIST",
        ]
    )


def test_where_data_must_be_there_a_skip_is_a_failure(session: pytest.Pytester) -> None:
    result = session.runpytest_inprocess("--no-skips", "tests")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["--no-skips: 2 skipped, which counts as a failure"])
    assert session.runpytest_inprocess("--no-skips", "tests", "-k", "else").ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "*named is not a folder*"),
        ("", "*does not hold ptb.train.txt, ptb.valid.txt, ptb.test.txt*"),
        ("edited\n", "*ptb.train.txt is not the published ptb.train.txt: expected sha256:fcea*"),
    ],
)
def test_a_named_folder_that_is_wrong_ends_the_session_with_one_message(
    session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, content: str | None, message: str
) -> None:
    named = session.path / "named"
    if content is not None:
        named.mkdir()
    if content:
        for split in ("train", "valid", "test"):
            (named / f"ptb.{split}.txt").write_text(content)
    monkeypatch.setenv("SGRNN_TEST_DATA", str(named))
    result = session.runpytest_inprocess("tests")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: the environment variable SGRNN_TEST_DATA must name a folder with the files of ptb: {message}"]
    )
    assert len(result.errlines) <= 2
