"""The space of a sweep: what it may hold, and every mistake with its place."""

from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from training.tiny import RECIPE

from sgrnn.config.files import parse_recipe
from sgrnn.config.recipe import Recipe
from sgrnn.errors import InputError
from sgrnn.sweep.space import Space, read_space


def read(tmp_path: Path, text: str) -> Space:
    def load(overrides: object) -> Recipe:
        assert isinstance(overrides, list)
        return parse_recipe(RECIPE, "recipe.yaml", tmp_path, overrides)

    (tmp_path / "space.yaml").write_text(text)
    return read_space(tmp_path / "space.yaml", load)


def test_fields_say_whether_a_range_is_of_whole_numbers(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "optimizer.learning_rate: {low: 1e-4, high: 1, log: true}\nmodel.dropout: {low: 0, high: 0.5, step: 0.1}\n"
        "model.hidden_size: {low: 8, high: 16, step: 4}\ntraining.clip: [1, ~]\n"
        "gradient.synthesizer: [{kind: error}, {kind: mlp, hidden_sizes: []}]\n",
    )
    assert found == {
        "optimizer.learning_rate": FloatDistribution(1e-4, 1.0, log=True),
        "model.dropout": FloatDistribution(0.0, 0.5, step=0.1),
        "model.hidden_size": IntDistribution(8, 16, step=4),
        "training.clip": CategoricalDistribution(("1", "null")),
        "gradient.synthesizer": CategoricalDistribution(('{"kind": "error"}', '{"kind": "mlp", "hidden_sizes": []}')),
    }


def test_choices_that_mean_the_same_are_one(tmp_path: Path) -> None:
    (values,) = read(tmp_path, "training.max_updates: [1, 1.0, '1', ~, 2]\n").values()
    assert getattr(values, "choices", None) == ("1", "null", "2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a space is a mapping of recipe fields such as optimizer.learning_rate; got nothing"),
        ("{}", "a space needs a field, such as optimizer.learning_rate; got none"),
        ("a: [", "not valid YAML"),
        ("window: [1]", ":1: window is no recipe field with its section, such as gradient.window"),
        ("gradient.windw: [1]", ":1: gradient.windw is not a field; did you mean gradient.window?"),
        (
            "model.core: [lstm, lstn]",
            ":1: model.core must be 'lstm', 'gru', 'rnn' or 'feedforward', got 'lstn'; did you mean lstm?",
        ),
        (
            "training.epochs: [2020-01-01]",
            ":1: training.epochs takes numbers, texts, lists and mappings, got [datetime.date(2020, 1, 1)]",
        ),
        ("gradient.window: []", ":1: gradient.window needs a choice, got an empty list"),
        (
            "gradient.window: 5",
            ":1: gradient.window must be a list of choices or a range such as {low: 1, high: 9}, got 5",
        ),
        (
            "gradient.window: [1]\nmodel.hidden_size: {low: 8, high: 16.5}",
            ":2: model.hidden_size must be a valid integer, got 16.5",
        ),
        ("model.hidden_size: {low: 8, high: 16, step: 0.5}", ":1: model.hidden_size.step must be a whole number as"),
        ("model.hidden_size: {low: 8}", ":1: model.hidden_size.high is missing"),
        ("model.hidden_size: {low: 8, high: x}", ":1: model.hidden_size.high must be a valid number, unable to parse"),
        (
            "model.hidden_size: {low: 8, hihg: 9, high: 9}",
            ":1: model.hidden_size.hihg is no field of a range; expected high, log, low, step",
        ),
        ("model.hidden_size: {low: 8, high: 8}", ":1: model.hidden_size: high must be above low, 8, got 8"),
        ("model.dropout: {low: 0, high: 0.5, log: true}", ":1: model.dropout: low must be above 0 where log is true"),
        ("model.dropout: {low: 0.1, high: 0.5, log: true, step: 0.1}", ":1: model.dropout: step and log exclude"),
        ("model.dropout: {low: 0.1, high: 0.5, step: 0.3}", ":1: model.dropout: high must be a whole number of steps"),
        (
            "gradient.shrinkage: {low: 0, high: 1}",
            ":1: gradient.shrinkage takes no numbers, so it has no range",
        ),
        (
            "gradient.run_ahead: {low: 0, high: 99, step: 33}\nmodel.dropout: [1]",
            ":2: model.dropout must be less than 1",
        ),
    ],
)
def test_a_mistake_is_named_with_file_line_and_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(str(tmp_path / "space.yaml"))
    assert message in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the space .*nowhere.yaml: "):
        read_space(tmp_path / "nowhere.yaml", lambda given: parse_recipe(RECIPE, "recipe.yaml", tmp_path, given))
