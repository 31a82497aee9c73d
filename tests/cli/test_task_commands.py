"""The commands on runs that learn a task."""

import re
from pathlib import Path
from shutil import rmtree

import pytest

from .commands import Commands, records_of, table_in

RECIPE = """
task: {kind: copy, bits: 2, threshold: 10, episodes_per_epoch: 5}
model: {core: lstm, hidden_size: 12}
gradient: {kind: synthetic, window: 3, synthesizer: {kind: mlp, lookahead: 2, projection: ~, hidden_sizes: [8]}}
training: {epochs: 2, batch_size: 4, log_every: 2, device: cpu}
"""
SUMS = ("--task.kind=adding", "--task.lag=3", "--task.episodes_per_epoch=4")


@pytest.fixture(autouse=True)
def recipe(folder: Path) -> None:
    """task.yaml in the current folder."""
    (folder / "task.yaml").write_text(RECIPE)


def test_a_run_begins_with_its_task_and_ends_with_the_length_it_has_reached(sgrnn: Commands) -> None:
    first, *lines = sgrnn.well("train", "task.yaml", "--run", "mine").splitlines()
    assert first == "training mine: copy, episodes of 4 steps to begin with, 5 an epoch, estimator synthetic"
    metrics = r"loss [\d.]+  length 1\.5  target R² -?[\d.]+  shrinkage [\d.]+  [\d.,]+ updates/s"
    assert re.fullmatch(rf"epoch 0\.40/2  {metrics}", lines[0])
    assert re.fullmatch(r"epoch 1: validation loss [\d.]+, accuracy [\d.]+%, length 6", lines[1])
    score = r"loss ([\d.]+), accuracy ([\d.]+)%, length 11"
    end = re.fullmatch(rf"validation {score} \(best of 2 evaluations\)", lines[-3])
    assert end is not None
    assert lines[-1] == "next: sgrnn evaluate mine"
    found = {path.name for path in Path("mine").iterdir()}
    files = {"recipe.yaml", "fingerprint.json", "about.json", "metrics.jsonl", "curves.png", "lock"}
    assert found == files | {"tensorboard", "checkpoints"}
    last = records_of("mine")[-1]
    assert [f"{last['valid_loss']:.4f}", f"{last['valid_accuracy']:.2%}", last["valid_length"]] == [
        end[1], end[2] + "%", 11
    ]  # fmt: skip
    evaluated = sgrnn.well("evaluate", "mine", "--split", "valid")
    assert evaluated == f"copy valid: loss {end[1]}, accuracy {end[2]}%, length 11\n"
    assert re.fullmatch(rf"copy test: {score}\n", sgrnn.well("evaluate", "mine"))
    assert sgrnn.refused("generate", "mine") == (
        "mine learned a task, which has no text to generate: try `sgrnn evaluate mine`"
    )
    assert sgrnn.refused("evaluate", "mine", "--split", "dev") == (
        "copy has no split named 'dev'; expected one of train, valid, test"
    )


def test_what_has_no_place_in_memory_is_refused_in_one_line(sgrnn: Commands) -> None:
    for options in (("--training.batch_size=1000000000000",), ("--gradient.synthesizer.hidden_sizes=[1000000000000]",)):
        line = sgrnn.refused("train", "task.yaml", "--run", "large", *options)
        assert re.match("the memory does not suffice: .*DefaultCPUAllocator.* allocate .*; ask for less, ", line)
        assert "\n" not in line
        rmtree("large", ignore_errors=True)


def test_a_run_resumes_inside_an_episode_to_the_same_end(sgrnn: Commands) -> None:
    cut = ("train", "task.yaml", "--training.span=3")
    sgrnn.well(*cut, "--run", "whole")
    sgrnn.well(*cut, "--run", "parts", "--training.max_updates=5", "--training.checkpoint_every=5")
    path = Path("parts/recipe.yaml")
    path.write_text(path.read_text().replace("max_updates: 5", "max_updates:"))
    sgrnn.well("resume", "parts")
    models = [Path(run, "checkpoints/update-000000020/model.safetensors").read_bytes() for run in ("whole", "parts")]
    assert models[0] == models[1]


def test_missing_digits_are_refused_before_a_folder_is_made(sgrnn: Commands) -> None:
    assert "run `sgrnn data fetch mnist`" in sgrnn.refused("train", "task.yaml", "--task.kind=mnist", "--run", "mine")
    assert not Path("mine").exists()


def test_texts_and_tasks_are_compared_with_blanks_where_they_have_no_figure(sgrnn: Commands, tiny: str) -> None:
    sgrnn.well("train", "task.yaml", "--run", "copies")
    output = sgrnn.well("train", "task.yaml", "--run", "sums", *SUMS)
    assert output.startswith("training sums: adding, episodes of 6 steps, 4 an epoch, estimator synthetic\n")
    assert re.search(r"\nvalidation loss [\d.]+ \(best of 2 evaluations\)\n", output)
    assert re.fullmatch(r"adding test: loss [\d.]+\n", sgrnn.well("evaluate", "sums"))
    Path(tiny).rename("letters")
    table = table_in(sgrnn.well("compare", "copies", "sums", "letters"))
    shown = ("loss", "perplexity", "accuracy", "length")
    assert [bool(table["copies"][heading]) for heading in shown] == [True, False, True, True]
    assert [bool(table["sums"][heading]) for heading in shown] == [True, False, False, False]
    assert [bool(table["letters"][heading]) for heading in shown] == [True, True, False, False]
    assert table["copies"]["length"] == "11"
    assert table["copies"]["loss"] == f"{records_of('copies')[-1]['valid_loss']:.4f}", "of the greatest length"
    assert "perplexity" not in sgrnn.well("compare", "copies", "sums")
    assert "accuracy" not in sgrnn.well("compare", "letters")
