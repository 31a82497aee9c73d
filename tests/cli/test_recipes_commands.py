"""`sgrnn recipes`: every shipped recipe is valid, takes two steps and reads back equal."""

import re
from pathlib import Path

import pytest

from sgrnn.config.files import dump_recipe, load_recipe, parse_recipe, shipped_recipes
from sgrnn.training.run import Run

from .commands import Commands

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


def test_every_recipe_file_is_shipped() -> None:
    assert shipped_recipes() == {path.stem: path.read_text("utf-8") for path in RECIPES}
    assert {"quickstart", "ptb-word-small"} <= set(shipped_recipes())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_valid_takes_two_steps_and_reads_back_equal(
    sgrnn: Commands, stand_ins: Path, path: Path
) -> None:
    assert sgrnn.well("recipes", "check", path.stem) == f"{path.stem} is a valid recipe\n"
    recipe = load_recipe(path.stem, ["--training.max_updates=2"])
    sgrnn.well("train", path.stem, "--training.max_updates=2", "--run", "smoke", "--data", stand_ins)
    run = Run.open(Path("smoke"))
    assert run.recipe == recipe
    assert parse_recipe(dump_recipe(recipe), path.stem) == recipe
    assert [record["update"] for record in run.records()] == [2, 2]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_begins_by_saying_what_it_does_and_how_to_run_it(path: Path) -> None:
    comment = re.split(r"\n(?:data|task):", path.read_text("utf-8"))[0].splitlines()
    assert all(line.startswith("#") for line in comment)
    assert any(f"sgrnn train {path.stem}" in line for line in comment)


def test_list_names_every_recipe_with_its_first_line(sgrnn: Commands) -> None:
    output = " ".join(sgrnn.well("recipes", "list").replace("│", " ").split())
    for name, text in shipped_recipes().items():
        assert f"{name} {' '.join(text.splitlines()[0].lstrip('# ').split()[:4])}" in output


def test_show_prints_the_file_or_the_resolved_recipe(sgrnn: Commands) -> None:
    assert sgrnn.well("recipes", "show", "quickstart") == shipped_recipes()["quickstart"]
    resolved = sgrnn.well("recipes", "show", "quickstart", "--resolved")
    assert parse_recipe(resolved, "shown") == load_recipe("quickstart")
    assert "weight_decay: 0.0" in resolved, "defaults are filled in"
    overridden = sgrnn.well("recipes", "show", "quickstart", "--gradient.window", "9")
    assert parse_recipe(overridden, "shown") == load_recipe("quickstart", ["--gradient.window=9"])


TURNS = """\
data: {corpus: python-docs}
model: {hidden_size: 16}
gradient: {kind: synthetic, window: 5, source: {kind: restarts}, grounding: {every: 7, window: 20}}
optimizer: {kind: adam, learning_rate: 2e-3}
schedule: {kind: restarts, period: 1, growth: 2}
training: {epochs: 3}
"""


def test_plot_draws_the_schedules(sgrnn: Commands) -> None:
    Path("turns.yaml").write_text(TURNS)
    rate, share, epoch, grounding = sgrnn.well("recipes", "show", "turns.yaml", "--plot").splitlines()
    assert rate.startswith("learning rate    █")
    assert rate.endswith(" 0 to 0.002")
    assert rate[17 + 20] == "█", "it restarts after a third"
    assert share == "synthetic share  " + " " * 20 + "█" * 40 + " 0 to 1"
    assert epoch == "epoch            0" + "3".rjust(59)
    assert grounding == "Grounding: in one of 7 spans that are not real the window is 20 steps long."
    for every, drawn in ((100000, " "), (1, "▄")):
        turns = f"--gradient.source={{kind: alternate, every: {every}, unit: updates}}"
        share = sgrnn.well("recipes", "show", "turns.yaml", "--plot", turns).splitlines()[1]
        assert set(share[17:77]) <= {drawn, "▃", "▅"} - {" "} | {drawn}, "counted in updates of the corpus"
    chance = "--gradient.source={kind: random, probability: 0.25}"
    assert sgrnn.well("recipes", "show", "turns.yaml", "--plot", chance).splitlines()[1].count("▂") == 60
    share, epoch = sgrnn.well("recipes", "show", "turns.yaml", "--plot", "--training.max_updates=30").splitlines()[1:3]
    assert share == "synthetic share  " + " " * 30 + " 0 to 1", "no further than it trains"
    assert epoch.startswith("epoch            0 ")
    assert sgrnn.well("recipes", "show", "quickstart", "--plot").splitlines()[1].count("█") == 60


def test_a_copy_is_equal_and_never_overwrites(sgrnn: Commands) -> None:
    assert sgrnn.well("recipes", "copy", "quickstart", "my own.yaml").startswith(
        "my own.yaml; train it with: sgrnn train"
    )
    assert Path("my own.yaml").read_text("utf-8") == shipped_recipes()["quickstart"]
    sgrnn.well("recipes", "copy", "quickstart")
    Path("quickstart.yaml").write_text("mine")
    assert sgrnn.refused("recipes", "copy", "quickstart") == (
        "quickstart.yaml exists already: remove it, or name another file"
    )
    assert Path("quickstart.yaml").read_text() == "mine"
    assert sgrnn.refused("recipes", "copy", "quickstart", "nowhere/mine.yaml") == (
        "cannot write nowhere/mine.yaml: No such file or directory"
    )


@pytest.mark.parametrize("command", ["check", "show", "copy"])
def test_an_unknown_recipe_is_refused_with_a_guess(sgrnn: Commands, command: str) -> None:
    assert sgrnn.refused("recipes", command, "quikstart").startswith(
        "there is no recipe named 'quikstart'; did you mean quickstart?"
    )


def test_check_reports_all_mistakes_of_file_and_overrides(sgrnn: Commands) -> None:
    path = Path("tiny.yaml")
    path.write_text(path.read_text().replace("span: 6", "span: 0").replace("core: lstm", "core: lstn"))
    assert sgrnn.refused("recipes", "check", "tiny.yaml", "--gradient.windw=5").splitlines() == [
        "tiny.yaml:3: model.core must be 'lstm', 'gru' or 'rnn', got 'lstn'; did you mean lstm?",
        "command line: gradient.windw is not a field; did you mean gradient.window?",
        "tiny.yaml:8: training.span must be greater than 0, got 0",
    ]
