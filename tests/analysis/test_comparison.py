"""The table of runs: each cell is the metric that its heading names, of the best evaluation."""

from pathlib import Path

from made_up import make_records, make_run

from sgrnn.analysis.comparison import SCORES, cautions, table_of
from sgrnn.config.files import load_recipe
from sgrnn.training.about import keep_score
from sgrnn.training.run import Run


def test_cells_are_those_of_the_best_evaluation_and_of_the_end(tmp_path: Path) -> None:
    best = {
        "loss": 1.23456, "perplexity": 3.4567, "word_perplexity": 45.678, "bits_per_character": 2.3456,
        "bits_per_byte": 1.9876, "unknown_share": 0.0123, "accuracy": 0.9876, "length": 17.0,
    }  # fmt: skip
    assert best.keys() == SCORES.keys()
    records = [
        *make_records(),
        {"update": 5, "epoch": 2.5, "seconds": 50.0, **{f"valid_{name}": value for name, value in best.items()}},
        {"update": 6, "epoch": 3.0, "seconds": 64.0, "valid_loss": 9.0, "valid_length": 16.0},
        {"update": 7, "epoch": 3.5, "seconds": 65.0, "loss": 1.0},  # too few updates for the synthesizer to learn
    ]
    runs = [
        make_run(tmp_path / "one", records),
        make_run(tmp_path / "two", [{"update": 1, "epoch": 1.0, "seconds": 2.0, "loss": 1.0}], "--gradient.kind=bptt"),
        make_run(tmp_path / "new", [], "--gradient.kind=truncated"),
    ]
    headings, rows = table_of(runs)
    one, two, new = (dict(zip(headings, row, strict=True)) for row in rows)
    assert one == {
        "run": str(tmp_path / "one"), "estimator": "synthetic 2", "loss": "1.2346", "perplexity": "3.46",
        "per word": "45.68", "bits/char": "2.346", "bits/byte": "1.988", "<unk>": "1.23%", "accuracy": "98.76%",
        "length": "17", "epochs": "3", "seconds": "64", "target R²": "0.300", "shrinkage": "0.500",
    }  # fmt: skip
    assert {name: cell for name, cell in two.items() if cell} == {
        "run": str(tmp_path / "two"), "estimator": "bptt", "epochs": "1", "seconds": "2"
    }  # fmt: skip
    assert {name: cell for name, cell in new.items() if cell} == {
        "run": str(tmp_path / "new"),
        "estimator": "truncated 2",
    }


def test_scores_on_different_test_texts_are_not_compared_without_a_word(tmp_path: Path) -> None:
    record = {"update": 4, "epoch": 2.0, "seconds": 1.0, "valid_loss": 1.0}
    runs = [
        Run(make_run(tmp_path / name, [record]).folder, load_recipe("quickstart"), None) for name in ("one", "other")
    ]
    for run in runs:
        run.keep_fingerprint({"valid": "sha256:0", "test": f"sha256:{run.folder.name}"}, {"time": "now"})
    keep_score(runs[0], "test", 4, {"loss": 2.0, "perplexity": 7.4})
    assert cautions(runs) == [], "one score alone is not compared"
    keep_score(runs[1], "test", 4, {"loss": 3.0, "perplexity": 20.1})
    (caution,) = cautions(runs)
    assert caution.startswith("the test texts of the runs differ: ")


def test_tasks_that_differ_are_not_compared_without_a_word(tmp_path: Path) -> None:
    def run(name: str, *overrides: str) -> Run:
        return make_run(tmp_path / name, [], *overrides)

    recall = ("--task.kind=recall", "--task.lag=5")
    easy, hard = run("easy", *recall), run("hard", "--task.kind=recall", "--task.lag=100", "--task.tokens=64")
    assert cautions([easy, hard]) == ["the tasks of the runs differ in task.lag, task.tokens: no number compares them"]
    assert cautions([easy, run("longer", *recall, "--task.episodes_per_epoch=7")]) == []
    copy, later = run("copy"), run("later", "--task.vectors=3")
    assert cautions([copy, later]) == [], "where a curriculum begins is no part of what is learned"
    assert cautions([copy, later, run("wide", "--task.bits=3")]) == [
        "the tasks of the runs differ in task.bits: no number compares them"
    ]
