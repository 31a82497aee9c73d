"""What `benchmarks/hierarchy.py` compares: models of equal size, by the figures of their runs."""

from pathlib import Path

import pytest
from hierarchy import CHARACTERS, FIGURE, FLAT, PREFIX, Condition, plot, print_table, products_per_step, summarize
from runs import COMPARED

from sgrnn.config.build.model import build_model
from sgrnn.config.files import load_recipe, shipped_recipes
from sgrnn.cores import HierarchicalCore

TWO = PREFIX + "two-levels"


def sizes(name: str) -> tuple[float, int]:
    model = build_model(load_recipe(name), CHARACTERS)
    return products_per_step(model), sum(parameter.numel() for parameter in model.parameters())


def test_products_are_those_of_the_layers_each_as_often_as_it_runs() -> None:
    assert sizes(FLAT)[0] == 4 * 158 * (64 + 158) + 50 * 158
    fast, slow, message = 4 * 143 * (64 + 16 + 143), 4 * 64 * (143 + 64), 16 * 64
    assert sizes(TWO)[0] == fast + (slow + message) / 4 + 50 * 143


@pytest.mark.parametrize("name", [FLAT, PREFIX + "three-levels"])
def test_of_as_many_products(name: str) -> None:
    assert sizes(name)[0] == pytest.approx(sizes(TWO)[0], rel=0.01)


@pytest.mark.parametrize("name", [FLAT + "-wide", PREFIX + "three-levels"])
def test_of_as_many_parameters(name: str) -> None:
    assert sizes(name)[1] == pytest.approx(sizes(TWO)[1], rel=0.01)


@pytest.mark.parametrize("estimator", COMPARED)
def test_every_condition_has_a_recipe(estimator: str) -> None:
    for name in shipped_recipes():
        if name.startswith(PREFIX):
            recipe = Condition(name, estimator, 4, 1, 1, False).loaded
            kind = "truncated" if estimator == "truncated" else "synthetic"
            assert (recipe.gradient.kind, recipe.training.seed, recipe.training.span) == (kind, 1, 16)
            assert getattr(recipe.gradient, "shuffle", False) is (estimator == "shuffled")
            assert (getattr(recipe.gradient, "discount", 1) == 0) is (estimator == "zero")
            core = build_model(recipe, CHARACTERS).core
            assert isinstance(core, HierarchicalCore) is ("levels" in name)


def test_the_best_evaluation_counts_and_a_diverged_run_has_none() -> None:
    condition = Condition(TWO, "synthetic", 4, 0, 1, False)
    rows = [
        {"update": n, "loss": 1.0, "target_r2": 0.5, "valid_bits_per_character": bits}
        for n, bits in ((1, 2.0), (2, 3.0))
    ]
    record = summarize(condition, rows)
    assert (record["value"], record["target_r2"], record["curve"]) == (2.0, 0.5, [[1, 2.0], [2, 3.0]])
    assert summarize(condition, [])["value"] is None


def test_a_window_longer_than_the_span_has_a_span_of_its_own() -> None:
    assert Condition(TWO, "truncated", 32, 0, 1, False).loaded.training.span == 32


def test_times_are_over_those_of_the_flat_model_with_the_same_policy_and_window(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conditions = [Condition(name, "truncated", 4, 0, 1, False) for name in (FLAT, TWO)]
    records = [summarize(condition, [{"update": 1, FIGURE: 2.5}]) for condition in conditions]
    print_table(records, {(FLAT, "truncated", 4): 2.0, (TWO, "truncated", 4): 3.0, (FLAT, "synthetic", 4): 9.0})
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(PREFIX)]
    assert [(line[0], line[-1]) for line in lines] == [(FLAT, "1.00"), (TWO, "1.50")]
    plot(records, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
