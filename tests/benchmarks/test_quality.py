"""What `benchmarks/quality.py` compares, and makes of its runs; and `benchmarks/hierarchy.py`."""

from argparse import Namespace

import hierarchy
import pytest
import quality
from frame import COMPARED, Condition, Record
from readings import cells, dots, lines
from shown import BLACK, BLUE, GREEN, RED
from texts import ESTIMATORS, SHAPES, TASKS, own_rate

from sgrnn.config.build.model import build_model
from sgrnn.config.files import load_recipe, shipped_recipes
from sgrnn.cores import HierarchicalCore
from sgrnn.errors import InputError

CURVE = [[100, 50.0], [200, 40.0], [300, 36.0]]
FLAT, TWO = hierarchy.FLAT, hierarchy.PREFIX + "two-levels"


def make_record(**fields: object) -> Record:
    return {
        "metric": "validation perplexity", "task": "words", "shape": "base", "estimator": "truncated", "window": 20,
        "learning_rate": 1.0, "value": 36.0, "curve": CURVE, "updates": 300, "seed": 0, **fields,
    }  # fmt: skip


def test_equal_seconds_are_those_of_truncation_at_the_long_window() -> None:
    interpolated = [quality.value_at(CURVE, update) for update in (100, 150, 275, 300, 99, 301)]
    assert interpolated == [50, 45, 37, 36, None, None]
    slow, fast = make_record(estimator="synthetic", window=5), make_record(window=50, updates=120)
    ratios = {("words", "base", *place): ratio for place, ratio in {
        ("truncated", 20): 1.0, ("synthetic", 5): 2.0, ("truncated", 50): 0.5}.items()}  # fmt: skip
    found = quality.at_equal_seconds([slow, fast, make_record(), make_record(task="characters")], ratios, 20)
    assert [(r["estimator"], r["window"], r["value"], r["cost_ratio"]) for r in found] == [
        ("synthetic", 5, 45.0, 2.0), ("truncated", 20, 36.0, 1.0)
    ]  # fmt: skip
    assert {r["metric"] for r in found} == {"validation perplexity at equal seconds"}


def test_differences_are_taken_seed_by_seed_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    values = {("truncated", 20): [36.0, 40, 38], ("truncated", 5): [41.0, 46, 42], ("synthetic", 5): [37.0, 40]}
    records = [
        make_record(estimator=estimator, window=window, seed=seed, value=value)
        for (estimator, window), found in values.items()
        for seed, value in enumerate(found)
    ]
    found = quality.differences([*records, make_record(estimator="zero", window=5, seed=0, value=None)], 20)
    assert {(r["estimator"], r["window"], r["truncated_window"]): (r["value"], r["standard_error"]) for r in found} == {
        ("truncated", 5, 20): (5.0, pytest.approx((1 / 3) ** 0.5)),
        ("synthetic", 5, 5): (-5.0, pytest.approx(1.0)),
        ("synthetic", 5, 20): (0.5, pytest.approx(0.5)),
    }
    quality.show(found)
    printed = cells(capsys.readouterr().out)
    assert printed[""] == ["less truncated T=20", "less truncated T=5"]
    assert printed["words, base, synthetic T=5"] == ["+0.50 ± 0.50 (2 seeds)", "-5.00 ± 1.00 (2 seeds)"]


def test_costs_are_over_those_of_truncation_at_the_long_window(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = {1: 3.0, 5: 4.0, 20: 2.0, 50: 1.0}
    monkeypatch.setattr(quality, "count", lambda recipe: {"operations": spans[recipe.gradient.window]})
    monkeypatch.setattr(quality, "seconds_per_update", lambda group: {key: 10 * spans[key[3]] for key in group})
    asked = Namespace(
        task=["words"], shapes=["base"], windows=[1, 5], long=[20, 50], seeds=[0, 1], rates=[1.0], quick=False,
        no_seconds=False, no_counts=False, estimators=["truncated", "exact ahead"],
    )  # fmt: skip
    conditions = quality.plan(asked)
    at = {(c.fields["estimator"], c.fields["window"]) for c in conditions}
    assert at == {(name, window) for name in ("truncated", "exact ahead") for window in (1, 5, 20, 50)}
    found = {(r["estimator"], r["window"], r["metric"]): r["value"] for r in quality.costs(conditions, asked)}
    assert len(found) == 8 * 4
    assert found["exact ahead", 5, "operations over truncated"] == 2
    assert found["truncated", 50, "time over truncated"] == 0.5
    assert found["truncated", 1, "seconds per update"] == 30


def test_tables_and_figure_show_the_best_rate_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ("truncated", "synthetic", "shuffled", "exact ahead")
    records = [
        make_record(estimator=kind, window=window, seed=seed, learning_rate=rate, value=10 * n + window + seed + rate)
        for n, kind in enumerate(kinds) for window in (1, 5) for seed in (0, 1, 4) for rate in (0.5, 0.25)
    ]  # fmt: skip
    records += [make_record(estimator="zero", window=5, seed=seed, value=float(seed)) for seed in (1, 2, 3, 6)]
    records += [make_record(estimator="synthetic", window=20, value=None)]
    quality.show(records)
    printed = cells(capsys.readouterr().out)
    assert printed["synthetic"] == ["12.25 (11.25 to 15.25)", "16.25 (15.25 to 19.25)", "inf"]
    assert printed["synthetic, rate 0.5"] == ["12.50 (11.50 to 15.50)", "16.50 (15.50 to 19.50)", ""]
    assert printed["zero"] == ["", "3.00 ± 1.08", ""]
    others = set(ESTIMATORS) - {record["estimator"] for record in records}
    records += [make_record(estimator=other, window=5) for other in others]
    (axes,) = quality.draw(records).axes
    drawn = lines(axes)
    assert set(drawn) == set(ESTIMATORS)
    assert drawn["truncated"] == ([0, 1], [2.25, 6.25], BLUE)
    assert drawn["synthetic"] == ([0, 1], [12.25, 16.25], GREEN)
    assert (drawn["zero"], drawn["shuffled"][2], drawn["exact ahead"][2]) == (([1], [3.0], RED), RED, BLACK)
    assert {(0, 11.25), (0, 12.25), (0, 15.25), (1, 6.0)} <= dots(axes)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "5"]
    assert (axes.get_title(), axes.get_ylabel()) == ("Penn Treebank words", "validation perplexity")


def test_every_condition_has_a_recipe_that_is_timed_as_it_is_trained_to_convergence_the_best_epoch_counts() -> None:
    places = [("words", "base", name) for name in ESTIMATORS] + [("words", shape, "synthetic") for shape in SHAPES]
    places += [(task, "base", "truncated") for task in TASKS]
    for task, shape, estimator in places:
        fields = {"task": task, "shape": shape, "estimator": estimator, "window": 50, "seed": 1, "quick": False}
        fields["learning_rate"] = own_rate(task, shape)
        recipe, timed = quality.recipe_of(fields), quality.recipe_of(fields, "null")
        assert (recipe.training.span, recipe.training.seed, recipe.gradient.window) == (50, 1, 50)  # pyright: ignore
        assert timed.model_copy(update={"gradient": recipe.gradient}) == recipe
        assert (recipe.gradient.parallel, timed.gradient.parallel) == (True, None)  # pyright: ignore
        assert recipe.training.max_updates is None
        assert quality.recipe_of(fields | {"quick": True}).training.max_updates == 232
    with pytest.raises(InputError, match=r"model\.dropout must be 0 for gradient\.kind exact, .* got 0\.2"):
        quality.recipe_of({
            "task": "words", "shape": "dropout", "estimator": "exact ahead", "window": 5, "seed": 0, "quick": False,
            "learning_rate": 1.0,
        })  # fmt: skip
    rows = [{"update": n, "epoch": n, "seconds": n, "valid_perplexity": v} for n, v in enumerate([3.0, 2.0, 2.5])]
    for task, value in (("words to convergence", 2.0), ("words", 2.5)):
        fields = {"task": task, "shape": "base", "estimator": "truncated", "window": 5, "seed": 0, "quick": False}
        fields["learning_rate"] = 1.0
        assert quality.score(Condition(fields, quality.recipe_of(fields)), rows)["value"] == value


def test_levels_are_compared_with_flat_models_of_their_size_under_every_estimator() -> None:
    sizes = {}
    for name in ("flat", "flat-wide", "two-levels", "three-levels"):
        model = build_model(load_recipe(hierarchy.PREFIX + name), hierarchy.CHARACTERS)
        sizes[name] = hierarchy.products_per_step(model), sum(p.numel() for p in model.parameters())
    fast, slow, message = 4 * 143 * (64 + 16 + 143), 4 * 64 * (143 + 64), 16 * 64
    assert sizes["flat"][0] == 4 * 158 * (64 + 158) + 50 * 158
    assert sizes["two-levels"][0] == fast + (slow + message) / 4 + 50 * 143
    for name, column in (("flat", 0), ("three-levels", 0), ("flat-wide", 1), ("three-levels", 1)):
        assert sizes[name][column] == pytest.approx(sizes["two-levels"][column], rel=0.01)
    for estimator in COMPARED:
        for name in (name for name in shipped_recipes() if name.startswith(hierarchy.PREFIX)):
            fields = {"recipe": name, "estimator": estimator, "seed": 1, "epochs": 2, "quick": False}
            recipe = hierarchy.recipe_of(fields | {"window": 4})
            assert recipe.gradient.kind == ("truncated" if estimator == "truncated" else "synthetic")
            assert (recipe.training.seed, recipe.training.span, recipe.training.epochs) == (1, 16, 2)
            assert getattr(recipe.gradient, "shuffle", False) is (estimator == "shuffled")
            assert (getattr(recipe.gradient, "discount", 1) == 0) is (estimator == "zero")
            assert isinstance(build_model(recipe, 50).core, HierarchicalCore) is ("levels" in name)
            assert hierarchy.recipe_of(fields | {"window": 32}).training.span == 32


def test_times_are_over_those_of_the_flat_model_with_the_same_estimator_and_window(
    capsys: pytest.CaptureFixture[str],
) -> None:
    records = []
    for name, seconds in ((FLAT, 2.0), (TWO, 3.0)):
        for seed, value in enumerate((2.5, 2.25)):
            fields = {"recipe": name, "estimator": "truncated", "window": 4, "seed": seed, "epochs": 1, "quick": False}
            rows = [{"update": 1, "epoch": 1.0, "seconds": 1, "valid_bits_per_character": value}]
            record = hierarchy.score(Condition(fields, hierarchy.recipe_of(fields)), rows)
            records.append(record | fields | {"seconds_per_update": seconds})
    records.append(records[0] | {"estimator": "synthetic", "seconds_per_update": 9.0})
    hierarchy.show(records[2:4] + records[:2])
    printed = cells(capsys.readouterr().out)
    assert printed[FLAT] == ["truncated", "4", "2.3750 (2.2500 to 2.5000)", "148,204", "152,718", "1.00"]
    assert (printed[TWO][2], printed[TWO][-1]) == ("2.3750 (2.2500 to 2.5000)", "1.50")
    (axes,) = hierarchy.draw(records).axes
    drawn = lines(axes)
    assert drawn["flat, truncated"] == ([0], [2.375], BLUE)
    assert (drawn["two-levels, truncated"][1], drawn["flat, synthetic"]) == ([2.375], ([0], [2.5], GREEN))
    assert axes.lines[0].get_marker() != axes.lines[2].get_marker()
