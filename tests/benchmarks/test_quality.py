"""What `benchmarks/quality.py` makes of its runs; the training itself is tested elsewhere."""

from pathlib import Path

import pytest
from quality import (
    ESTIMATORS,
    SHAPES,
    TASKS,
    Condition,
    at_equal_seconds,
    best_rates,
    differences,
    own_rate,
    plot,
    summarize,
    value_at,
)
from records import Record

from sgrnn.config.files import parse_recipe
from sgrnn.errors import InputError
from sgrnn.training.train_all import train_all

CURVE = [[100, 50.0], [200, 40.0], [300, 36.0]]


def make_record(**fields: object) -> Record:
    return {
        "metric": "perplexity", "task": "words", "shape": "base", "estimator": "truncated", "window": 20,
        "learning_rate": 1.0, "value": 36.0, "curve": CURVE, "updates": 300, **fields,
    }  # fmt: skip


@pytest.mark.parametrize(("update", "expected"), [(100, 50), (150, 45), (275, 37), (300, 36), (99, None), (301, None)])
def test_between_two_evaluations_a_figure_is_interpolated_and_beyond_them_unknown(
    update: float, expected: float | None
) -> None:
    assert value_at(CURVE, update) == expected


def test_equal_seconds_are_those_of_truncation_at_the_long_window() -> None:
    slow, fast = make_record(estimator="synthetic", window=5), make_record(window=50, updates=120)
    costs = {
        ("words", "base", "truncated", 20): 0.1,
        ("words", "base", "synthetic", 5): 0.2,
        ("words", "base", "truncated", 50): 0.05,
    }
    found = at_equal_seconds([slow, fast, make_record(), make_record(task="characters")], costs, 20)
    assert [(r["estimator"], r["window"], r["value"], r["cost_ratio"]) for r in found] == [
        ("synthetic", 5, 45.0, 2.0), ("truncated", 20, 36.0, 1.0)
    ]  # fmt: skip
    assert {r["metric"] for r in found} == {"perplexity at equal seconds"}


def test_a_diverged_run_has_no_value_and_is_never_the_best() -> None:
    condition = Condition("words", "base", "synthetic", 5, 2e-3, 0, False)
    diverged = summarize(condition, [])
    assert (diverged["value"], diverged["curve"]) == (None, [])
    rows = [{"update": 10, "loss": 6.0, "target_r2": 0.5}]
    rows += [{"update": 10, "epoch": 1.0, "seconds": 3.0, "valid_loss": 5.0, "valid_perplexity": 148.4}]
    good = summarize(Condition("words", "base", "synthetic", 5, 4e-3, 0, False), rows)
    assert (good["value"], good["target_r2"], good["updates"]) == (148.4, 0.5, 10)
    assert best_rates([diverged, good]) == [good]


def test_differences_are_taken_seed_by_seed() -> None:
    values = {
        ("truncated", 20): [36.0, 40.0, 38.0],
        ("truncated", 5): [41.0, 46.0, 42.0],
        ("synthetic", 5): [37.0, 40.0],
    }
    records = [
        make_record(estimator=estimator, window=window, seed=seed, value=value)
        for (estimator, window), found in values.items()
        for seed, value in enumerate(found)
    ]
    found = {
        (r["estimator"], r["window"], r["truncated_window"]): (r["value"], r["standard_error"])
        for r in differences([*records, make_record(estimator="zero", window=5, seed=0, value=None)], 20)
    }
    assert found == {
        ("truncated", 5, 20): (5.0, pytest.approx((1 / 3) ** 0.5)),
        ("synthetic", 5, 5): (-5.0, pytest.approx(1.0)),
        ("synthetic", 5, 20): (0.5, pytest.approx(0.5)),
    }


def test_to_convergence_the_best_epoch_counts() -> None:
    rows = [
        {"update": n, "epoch": n, "seconds": n, "valid_loss": 1.0, "valid_perplexity": value}
        for n, value in enumerate([3.0, 2.0, 2.5])
    ]
    assert summarize(Condition("words to convergence", "base", "truncated", 5, 20, 0, False), rows)["value"] == 2.0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_condition_has_a_recipe(estimator: str, shape: str) -> None:
    if (estimator, shape) == ("exact ahead", "dropout"):
        with pytest.raises(InputError, match=r"model\.dropout must be 0 for gradient\.kind exact, .* got 0\.2"):
            _ = Condition("words", shape, estimator, 50, 1.0, 1, True).recipe
        return
    for task in TASKS:
        recipe = Condition(task, shape, estimator, 50, own_rate(task, shape), 1, True).recipe
        assert (recipe.training.span, recipe.training.seed, recipe.gradient.window) == (50, 1, 50)  # pyright: ignore
        timed = Condition(task, shape, estimator, 50, own_rate(task, shape), 1, True).fastest
        assert timed.model_copy(update={"gradient": recipe.gradient}) == recipe
        assert timed.gradient.parallel is None  # pyright: ignore
        assert timed.gradient.model_copy(update={"parallel": True}) == recipe.gradient


RECIPE = """
data: {corpus: text, train: train.txt, valid: train.txt, test: train.txt, tokenizer: {kind: character}}
model: {core: lstm, hidden_size: 4}
gradient: {kind: truncated, window: 3}
optimizer: {kind: sgd, learning_rate: RATE}
training: {epochs: 1, max_updates: 4, batch_size: 2, span: 6, log_every: 1, device: cpu, clip: null}
"""


def test_runs_are_trained_once_in_their_folders_a_diverged_one_does_not_stop_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.txt").write_text("what is said here is said again and again\n" * 5)
    monkeypatch.setenv("SGRNN_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    recipes = {
        name: parse_recipe(RECIPE.replace("RATE", rate), name)
        for name, rate in {"wild": "1e38", "tame": "1e-2"}.items()
    }
    found = dict(train_all(recipes, tmp_path / "out"))
    assert found["wild"] == []
    assert found["tame"][-1]["update"] == 4
    again = dict(train_all({"tame": recipes["tame"]}, tmp_path / "out"))
    assert again["tame"] == found["tame"]
    with pytest.raises(InputError, match=r"wild holds a run of another recipe: name another folder with --out$"):
        next(train_all({"wild": recipes["tame"]}, tmp_path / "out"))


def test_the_figure_has_every_policy(tmp_path: Path) -> None:
    plot(
        [make_record(estimator=estimator, window=window) for estimator in ESTIMATORS for window in (1, 5)],
        tmp_path / "all.png",
    )
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
