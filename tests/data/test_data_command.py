"""`sgrnn data`, run through its command line."""

from pathlib import Path

from typer.testing import CliRunner, Result

from sgrnn.cli.data import app
from sgrnn.data import CORPORA, status
from sgrnn.errors import InputError


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200", "SGRNN_DATA": ""}).invoke(app, arguments)


def listed(folder: str) -> dict[str, list[str]]:
    """Cells of the printed table by the first of each row."""
    lines = run("list", "--data", folder).output.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    return {name: cells for name, *cells in rows}


def test_fetch_imports_check_confirms_and_list_shows_it(stand_ins: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "data")
    assert "nothing has been fetched" in run("check", "--data", folder).output
    fetched = run("fetch", "ptb", "--from", str(stand_ins), "--data", folder)
    assert fetched.exit_code == 0
    sizes = [path.stat().st_size for path in sorted((stand_ins / "ptb").iterdir())]  # test, train, valid
    assert f"ptb.train.txt  {sizes[1]:,} bytes" in fetched.output
    assert run("check", "ptb", "--data", folder).output == f"ptb: intact, {sum(sizes):,} bytes\n"
    assert run("check", "--data", folder).output == f"ptb: intact, {sum(sizes):,} bytes\n"
    rows = listed(folder)
    assert set(rows) == {*CORPORA, "mnist"}
    assert rows["ptb"][:2] == ["present", f"{sum(sizes) / 1e6:.1f} MB"]
    assert {name: rows[name][:2] for name in ("ptb-char", "wikitext-2", "mnist", "python-docs", "text")} == {
        "ptb-char": ["present", ""],
        "wikitext-2": ["absent", ""],
        "mnist": ["absent", ""],
        "python-docs": ["present", ""],
        "text": ["", ""],
    }


def test_several_are_fetched_by_one_command_and_none_if_a_name_is_wrong(stand_ins: Path, tmp_path: Path) -> None:
    options = ("--from", str(stand_ins), "--data", str(tmp_path))
    error = run("fetch", "ptb", "mnst", *options).exception
    assert isinstance(error, InputError)
    assert status("ptb", tmp_path).state == "absent"
    fetched = run("fetch", "ptb", "mnist", *options)
    assert fetched.exit_code == 0
    assert len(fetched.output.splitlines()) == 3 + 4
    assert status("ptb", tmp_path).state == status("mnist", tmp_path).state == "present"


def test_check_refuses_damage(stand_ins: Path, tmp_path: Path) -> None:
    run("fetch", "ptb", "--from", str(stand_ins), "--data", str(tmp_path))
    (tmp_path / "ptb" / "ptb.test.txt").write_text("edited\n")
    for arguments in (("check",), ("check", "ptb")):
        error = run(*arguments, "--data", str(tmp_path)).exception
        assert isinstance(error, InputError)
        assert "ptb.test.txt is damaged" in str(error)
    rows = listed(str(tmp_path))
    assert rows["ptb"][0] == rows["ptb-char"][0] == "damaged"
