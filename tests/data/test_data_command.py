"""`sgrnn data`, run through its command line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sgrnn.cli.data import app
from sgrnn.data import CORPORA, status
from sgrnn.errors import InputError


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200", "SGRNN_DATA": ""}).invoke(app, arguments)


def test_fetch_imports_verify_confirms_and_list_shows_it(test_data: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "data")
    fetched = run("fetch", "ptb", "--from", str(test_data), "--data", folder)
    assert fetched.exit_code == 0
    assert "ptb.train.txt  5,101,618 bytes" in fetched.output
    assert status("ptb", tmp_path / "data").state == "present"
    assert run("verify", "ptb", "--data", folder).output == "ptb: intact, 5,951,345 bytes\n"
    assert run("verify", "--data", folder).output == "ptb: intact, 5,951,345 bytes\n"
    rows = {
        line.split("│")[1].strip(): line for line in run("list", "--data", folder).output.splitlines() if "│" in line
    }
    assert set(rows) == {*CORPORA, "mnist"}
    assert "present" in rows["ptb"]
    assert "present" in rows["ptb-char"]
    assert "absent" in rows["mnist"]
    assert "6.0 MB" in rows["ptb"]


def test_verify_refuses_damage(ptb_folder: Path, tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert "nothing has been fetched" in run("verify", "--data", folder).output
    run("fetch", "ptb", "--from", str(ptb_folder), "--data", folder)
    (tmp_path / "ptb" / "ptb.test.txt").write_text("edited\n")
    for arguments in (("verify",), ("verify", "ptb")):
        error = run(*arguments, "--data", folder).exception
        assert isinstance(error, InputError)
        assert "ptb.test.txt is damaged" in str(error)
    assert "damaged" in run("list", "--data", folder).output


def test_bad_input_reaches_the_caller_as_an_input_error(tmp_path: Path) -> None:
    error = run("fetch", "penn", "--data", str(tmp_path)).exception
    assert isinstance(error, InputError)


@pytest.mark.parametrize("command", ["list", "fetch", "verify"])
def test_each_help_shows_an_example(command: str) -> None:
    assert f"Example: sgrnn data {command}" in run(command, "--help").output
