"""`sgrnn data`, run through its command line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sgrnn.cli.data import app
from sgrnn.data import CORPORA, status
from sgrnn.errors import InputError


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200", "SGRNN_DATA": ""}).invoke(app, arguments)


def test_fetch_imports_verify_confirms_and_list_shows_it(stand_ins: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "data")
    fetched = run("fetch", "ptb", "--from", str(stand_ins), "--data", folder)
    assert fetched.exit_code == 0
    sizes = [path.stat().st_size for path in sorted((stand_ins / "ptb").iterdir())]  # test, train, valid
    assert f"ptb.train.txt  {sizes[1]:,} bytes" in fetched.output
    assert status("ptb", tmp_path / "data").state == "present"
    assert run("verify", "ptb", "--data", folder).output == f"ptb: intact, {sum(sizes):,} bytes\n"
    assert run("verify", "--data", folder).output == f"ptb: intact, {sum(sizes):,} bytes\n"
    rows = {
        line.split("│")[1].strip(): line for line in run("list", "--data", folder).output.splitlines() if "│" in line
    }
    assert set(rows) == {*CORPORA, "mnist"}
    assert "present" in rows["ptb"]
    assert "present" in rows["ptb-char"]
    assert "absent" in rows["mnist"]
    assert f"{sum(sizes) / 1e6:.1f} MB" in rows["ptb"]


def test_several_are_fetched_by_one_command_and_none_if_a_name_is_wrong(stand_ins: Path, tmp_path: Path) -> None:
    options = ("--from", str(stand_ins), "--data", str(tmp_path))
    error = run("fetch", "ptb", "mnst", *options).exception
    assert isinstance(error, InputError)
    assert status("ptb", tmp_path).state == "absent"
    fetched = run("fetch", "ptb", "mnist", *options)
    assert fetched.exit_code == 0
    assert len(fetched.output.splitlines()) == 3 + 4
    assert status("ptb", tmp_path).state == status("mnist", tmp_path).state == "present"


def test_verify_refuses_damage(stand_ins: Path, tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert "nothing has been fetched" in run("verify", "--data", folder).output
    run("fetch", "ptb", "--from", str(stand_ins), "--data", folder)
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
