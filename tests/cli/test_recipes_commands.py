"""`sgrnn recipes`: every shipped recipe is valid, says what it is for, can be built and reads back equal."""

import re
from pathlib import Path

import pytest

from sgrnn.config.build.gradient import build_estimator
from sgrnn.config.build.model import build_core, build_model
from sgrnn.config.files import dump_recipe, load_recipe, parse_recipe, shipped_recipes
from sgrnn.models.readout import Readout
from sgrnn.tasks.scores import cross_entropy
from sgrnn.training.run import Run

from .commands import Commands

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))
UNLIKE = [
    "copy-synthetic", "hierarchy-three-levels", "mnist-row-synthetic", "ptb-word-awd", "ptb-word-small", "quickstart",
    "schedule-alternating-doubling", "schedule-grounded-half",
]  # fmt: skip


def test_every_recipe_file_is_shipped() -> None:
    assert shipped_recipes() == {path.stem: path.read_text("utf-8") for path in RECIPES}
    assert set(UNLIKE) <= set(shipped_recipes())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_valid_says_what_it_is_for_and_reads_back_equal(sgrnn: Commands, path: Path) -> None:
    assert sgrnn.well("recipes", "check", path.stem) == f"{path.stem} is a valid recipe\n"
    comment = re.split(r"\n(?:data|task):", path.read_text("utf-8"))[0].splitlines()
    assert all(line.startswith("#") for line in comment)
    assert any(f"sgrnn train {path.stem}" in line for line in comment)
    recipe = load_recipe(path.stem)
    assert parse_recipe(dump_recipe(recipe), path.stem) == recipe
    of_a_task = Readout(build_core(recipe, 3), recipe.model.hidden_size, 2, cross_entropy)
    model = build_model(recipe, 3) if recipe.task is None else of_a_task
    estimator = build_estimator(recipe, model, updates_per_epoch=9)
    assert estimator.lookahead <= (recipe.span or 8)


@pytest.mark.parametrize("name", UNLIKE)
def test_a_shipped_recipe_takes_two_steps(sgrnn: Commands, stand_ins: Path, name: str) -> None:
    short = ["--training.max_updates=2", "--model.hidden_size=16"]
    sgrnn.well("train", name, *short, "--run", "smoke", "--data", stand_ins)
    run = Run.open(Path("smoke"))
    assert run.recipe == load_recipe(name, short)
    assert [record["update"] for record in run.records() if "best_update" not in record] == [2, 2]


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


def test_a_copy_is_equal_and_never_overwrites(sgrnn: Commands) -> None:
    assert sgrnn.well("recipes", "copy", "quickstart", "my own.yaml") == (
        "my own.yaml; train it with: sgrnn train 'my own.yaml'\n"
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


def test_a_copy_elsewhere_of_paths_relative_to_the_recipe_is_refused(sgrnn: Commands) -> None:
    Path("sub").mkdir()
    assert sgrnn.refused("recipes", "copy", "tiny.yaml", "sub/mine.yaml") == (
        "tiny.yaml: data.train, data.valid, data.test would mean other files in sub, being relative to the recipe: "
        "make them absolute, or copy it within its folder"
    )
    assert not Path("sub/mine.yaml").exists()
    sgrnn.well("recipes", "copy", "tiny.yaml", "mine.yaml")
    Path("far.yaml").write_text(Path("tiny.yaml").read_text().replace("texts/", f"{Path.cwd()}/texts/"))
    sgrnn.well("recipes", "copy", "far.yaml", "sub/mine.yaml")
    Path("link.yaml").symlink_to("sub/real.yaml")  # whose paths are relative to where the link lies
    Path("sub/real.yaml").write_text(Path("tiny.yaml").read_text())
    assert sgrnn.refused("recipes", "copy", "link.yaml", "sub/other.yaml").startswith("link.yaml: data.train, ")
    sgrnn.well("recipes", "copy", "link.yaml", "beside.yaml")
    assert load_recipe("sub/mine.yaml") == load_recipe("tiny.yaml")


def test_a_copy_under_the_name_of_a_shipped_recipe_is_the_one_that_is_trained(sgrnn: Commands) -> None:
    said = sgrnn.well("recipes", "copy", "ptb-word-small", "quickstart")
    assert said == "quickstart; train it with: sgrnn train ./quickstart\n"
    assert load_recipe("./quickstart") == load_recipe("ptb-word-small")


def test_an_unknown_recipe_is_refused_with_a_guess(sgrnn: Commands) -> None:
    for command in ("check", "show", "copy"):
        assert sgrnn.refused("recipes", command, "quikstart").startswith(
            "there is no recipe named 'quikstart'; did you mean quickstart?"
        )


def test_check_reports_all_mistakes_of_file_and_overrides(sgrnn: Commands) -> None:
    path = Path("tiny.yaml")
    path.write_text(path.read_text().replace("span: 6", "span: 0").replace("core: lstm", "core: lstn"))
    assert sgrnn.refused("recipes", "check", "tiny.yaml", "--gradient.windw=5").splitlines() == [
        "tiny.yaml:3: model.core must be 'lstm', 'gru', 'rnn' or 'feedforward', got 'lstn'; did you mean lstm?",
        "command line: gradient.windw is not a field; did you mean gradient.window?",
        "tiny.yaml:8: training.span must be greater than 0, got 0",
    ]


def test_fields_prints_the_reference_of_what_is_asked_for(sgrnn: Commands) -> None:
    assert sgrnn.well("recipes", "fields", "training.diagnosis.every").splitlines() == [
        "training.diagnosis: Metrics that cost more than an update, measured now and then",
        "  (`sgrnn.diagnostics`).",
        "",
        "  training.diagnosis.every: whole number from 1; required",
        "      Updates between two diagnoses.",
        "",
    ]
    everything = sgrnn.well("recipes", "fields")
    assert "  gradient.synthesizer.rank: whole number from 1; default 32\n" in everything
    assert sgrnn.refused("recipes", "fields", "gradient.windw") == (
        "a recipe has no section or field 'gradient.windw'; did you mean gradient.window?"
    )
