"""`sgrnn evaluate --dynamic` and `--cache`: chosen on the validation text, scored as by the library, or refused."""

import json
import re
from pathlib import Path
from shutil import rmtree

import pytest
import torch

from sgrnn import DynamicEvaluation, NeuralCache, gradient_rms, load, score
from sgrnn.analysis.report.page import facts
from sgrnn.training.run import Run

from .commands import Commands, records_of

SGD = ("--dynamic", "--sgd", "--learning-rate", 0.5, "--decay", 0.01)
CACHE = ("--cache", "--weight", 0.1, "--flatness", 0.5, "--size", 30)


def loss_in(output: str) -> float:
    (loss,) = re.findall(r"^([\d.]+) nats per token, ", output, re.MULTILINE)
    return float(loss)


def encoded(path: str) -> torch.Tensor:
    _, tokenizer = load("mine")
    return torch.from_numpy(tokenizer.encode(Path(path).read_text()).astype("int64"))


def test_a_file_is_scored_as_by_the_library_and_needs_the_run_folder_alone(sgrnn: Commands) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine")
    model, tokenizer = load("mine")
    dynamic, cache = DynamicEvaluation(0.5, 0.01), NeuralCache(0.1, 0.5, 30)
    split = sgrnn.well("evaluate", "mine", *SGD, *CACHE)
    assert split.startswith("text test with dynamic evaluation and cache: ")
    Path("texts").rename("elsewhere")
    rmtree("data")
    plain = sgrnn.well("evaluate", "mine", "--text", "elsewhere/test.txt")
    seen = {loss_in(plain)}
    for options, own, memory in ((SGD, dynamic, None), (CACHE, None, cache), ((*SGD, *CACHE), dynamic, cache)):
        printed = sgrnn.well("evaluate", "mine", "--text", "elsewhere/test.txt", *options)
        expected = score(model, tokenizer, Path("elsewhere/test.txt"), dynamic=own, cache=memory)
        assert loss_in(printed) == pytest.approx(expected.loss, abs=1e-4)
        assert re.findall(r"<unk> .*", printed) == re.findall(r"<unk> .*", plain)
        seen.add(loss_in(printed))
    assert len(seen) == 4
    assert loss_in(split) == loss_in(printed), "a split is scored as a file is"
    lines = sgrnn.well("evaluate", "mine", "--text", "elsewhere/test.txt", *SGD, *CACHE, "--lines")
    nats = [float(line.split()[2]) for line in lines.splitlines()[1:4]]
    assert sum(nats) == pytest.approx(loss_in(printed) * len(encoded("elsewhere/test.txt")), abs=0.05)


def test_settings_are_chosen_on_the_validation_text_and_printed(sgrnn: Commands, mine: str) -> None:
    printed = sgrnn.well("evaluate", mine, "--dynamic", "--cache", "--size", 20, "--choose-on", 40)
    chosen = dict(re.findall(r"^(dynamic evaluation|cache): ((?:[a-z ]+ [\d.e-]+,? ?)+)", printed, re.MULTILINE))
    rates = re.fullmatch(r"learning rate ([\d.e-]+), decay ([\d.e-]+) ?", chosen["dynamic evaluation"])
    mixing = re.fullmatch(r"flatness ([\d.e-]+), size 20, weight ([\d.e-]+) ?", chosen["cache"])
    assert rates is not None
    assert mixing is not None
    model, tokenizer = load(mine)
    rms = gradient_rms(model, encoded("texts/train.txt"), tokenizer.eos_id)
    dynamic = DynamicEvaluation(float(rates[1]), float(rates[2]), rms=rms)
    cache = NeuralCache(float(mixing[2]), float(mixing[1]), 20)
    found = score(model, tokenizer, Path("texts/test.txt"), dynamic=dynamic, cache=cache)
    assert loss_in(printed) == pytest.approx(found.loss, abs=1e-4)
    tables = printed.split("perplexity of the first 40 tokens of the validation text\n")
    for table, memory in zip(tables[1:], (None, cache), strict=True):
        perplexities = [float(value) for value in re.findall(r"([\d.]+) │$", table, re.MULTILINE)]
        Path("valid.txt").write_text(tokenizer.decode(encoded("texts/valid.txt")[:40].tolist()))
        best = score(model, tokenizer, Path("valid.txt").read_text(), dynamic=dynamic, cache=memory).perplexity
        assert min(perplexities) == pytest.approx(best, abs=0.01)
    assert 5 <= len(re.findall(r" │$", tables[1], re.MULTILINE)) <= 13
    assert len(re.findall(r" │$", tables[2], re.MULTILINE)) == 16


def test_a_plain_score_stays_beside_that_of_an_adapted_model(sgrnn: Commands, mine: str) -> None:
    plain = loss_in(sgrnn.well("evaluate", mine))
    adapted = loss_in(sgrnn.well("evaluate", mine, *SGD))
    scores = json.loads(Path(mine, "scores.json").read_text())
    assert scores["test"]["loss"] == pytest.approx(plain, abs=1e-4)
    assert scores["test with dynamic evaluation"]["loss"] == pytest.approx(adapted, abs=1e-4)
    settings = {"learning_rate": 0.5, "decay": 0.01, "window": 5, "sgd": 1}
    assert settings.items() <= scores["test with dynamic evaluation"].items()
    assert not settings.keys() & scores["test"].keys()
    shown = dict(facts(Run.open(Path(mine))))
    assert ", learning rate 0.5, decay 0.01, window 5, sgd 1; update" in shown["test with dynamic evaluation score"]
    assert shown["test score"].startswith(f"loss {plain:.4f}, ")
    assert shown["test with dynamic evaluation score"].startswith(f"loss {adapted:.4f}, ")


def test_the_train_part_is_a_split_that_is_measured_on_demand(sgrnn: Commands, mine: str) -> None:
    Path(mine, "scores.json").unlink()
    printed = sgrnn.well("evaluate", mine, "--split", "train-part")
    (measured,) = [record for record in records_of(mine) if "train_part_loss" in record]
    perplexity = measured["train_part_perplexity"]
    assert printed == f"text train-part: loss {measured['train_part_loss']:.4f}, perplexity {perplexity:.2f}\n"
    assert json.loads(Path(mine, "scores.json").read_text())["train-part"]["update"] == measured["best_update"]
    for options in (SGD, CACHE):
        message = sgrnn.refused("evaluate", mine, "--split", "train-part", *options)
        assert message == (f"--split train-part is for the generalization gap, without adaptation: remove {options[0]}")


def test_a_model_of_lines_adapts_within_each_line(sgrnn: Commands, folder: Path) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "lines", "--data.reset=line")
    whole = sgrnn.well("evaluate", "lines", "--text", "texts/test.txt", "--lines", *SGD, *CACHE)
    first, second = Path("texts/test.txt").read_text().splitlines()[:2]
    for number, line in ((1, first), (2, second)):
        Path("one.txt").write_text(f"{line}\n")
        alone = sgrnn.well("evaluate", "lines", "--text", "one.txt", "--lines", *SGD, *CACHE)
        assert whole.splitlines()[number].split()[1:] == alone.splitlines()[1].split()[1:]
    assert loss_in(whole) == loss_in(sgrnn.well("evaluate", "lines", *SGD, *CACHE))


def test_a_file_is_reset_at_documents_as_a_split_is(sgrnn: Commands, folder: Path) -> None:
    for split in ("train", "valid", "test"):
        path = folder / "texts" / f"{split}.txt"
        path.write_text("\n".join(path.read_text().splitlines(keepends=True)))
    short = ("--training.max_updates=3", "--training.span=4")
    sgrnn.well("train", "tiny.yaml", "--run", "documents", "--data.reset=document", *short)
    for adapted in ((), ("--cache", "--weight", 0.3, "--flatness", 0.3, "--size", 50)):
        scores = [
            sgrnn.well("evaluate", "documents", *text, *adapted).splitlines()[1:]
            for text in (("--split", "test"), ("--text", "texts/test.txt"))
        ]
        assert scores[0] == scores[1]


def test_settings_are_chosen_on_the_texts_that_the_run_had_alone(sgrnn: Commands, folder: Path) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine", "--training.max_updates=3")
    Path("new.txt").write_text(Path("texts/test.txt").read_text())
    Path("texts/test.txt").write_text(Path("texts/test.txt").read_text() * 2)  # which settings are not chosen on
    sgrnn.well("evaluate", "mine", "--text", "new.txt", "--cache", "--choose-on", 40)
    Path("texts/valid.txt").write_text(Path("texts/valid.txt").read_text() * 2)
    for adaptation in ("--cache", "--dynamic"):
        message = sgrnn.refused("evaluate", "mine", "--text", "new.txt", adaptation, "--choose-on", 40)
        assert message.startswith(
            "the text is not the one that mine was trained on: what it is to validate on has changed; restore the "
            "files; or adapt by the run folder alone: "
        )
    sgrnn.well("evaluate", "mine", "--text", "new.txt", *SGD, *CACHE)


def test_settings_without_what_they_are_for_and_out_of_range_are_refused(sgrnn: Commands, mine: str) -> None:
    for options, message in (
        (("--decay", 0.1), "--decay goes with --dynamic: add it"),
        (("--decay", 0), "--decay goes with --dynamic: add it"),
        (("--weight", 0), "--weight goes with --cache: add it"),
        (("--cache", "--learning-rate", 0.1), "--learning-rate goes with --dynamic: add it"),
        (("--sgd",), "--sgd goes with --dynamic: add it"),
        (("--dynamic", "--size", 5), "--size goes with --cache: add it"),
        (("--choose-on", 5), "--choose-on goes with --dynamic or --cache: add it"),
        (("--dynamic", "--learning-rate", 0), "learning_rate must be above 0, got 0.0"),
        (("--dynamic", "--decay", 1), "decay must be at least 0 and below 1, got 1.0"),
        (("--cache", "--weight", 1), "weight must be at least 0 and below 1, got 1.0"),
        (("--cache", "--weight", -0.1), "weight must be at least 0 and below 1, got -0.1"),
        (("--cache", "--flatness", -1), "flatness must be at least 0, got -1.0"),
    ):
        assert sgrnn.refused("evaluate", mine, *options) == message
    assert "Invalid value for '--size'" in sgrnn("evaluate", mine, "--cache", "--size", 1 << 63).err
    for options in (("--dynamic", "--window"), ("--cache", "--size"), ("--cache", "--choose-on")):
        outcome = sgrnn("evaluate", mine, *options, 0)
        assert outcome.status == 2
        assert f"Invalid value for '{options[1]}'" in outcome.err
    for split in ("tset", ""):
        assert sgrnn.refused("evaluate", mine, *SGD, "--split", split).endswith("expected one of train, valid, test")
    assert sgrnn.refused("evaluate", mine, "--split", "").endswith("expected one of train, valid, test")


def test_what_diverges_is_not_chosen_and_no_score(sgrnn: Commands, mine: str) -> None:
    kept = Path(mine, "scores.json").read_text()
    steep = ("--dynamic", "--sgd", "--window", 1, "--learning-rate", 1e38)
    assert sgrnn.refused("evaluate", mine, *steep, "--decay", 0) == (
        "dynamic evaluation diverges by learning_rate 1e+38 and decay 0: choose a smaller learning rate"
    )
    assert sgrnn.refused("evaluate", mine, *steep).endswith(
        "dynamic evaluation diverges by all that was tried: choose a smaller --learning-rate"
    )
    assert sgrnn.refused("evaluate", mine, "--dynamic", "--learning-rate", 1e30, "--decay", 0.1).startswith(
        "dynamic evaluation diverges by learning_rate 1e+30 and decay 0.1"
    ), "finite nats of a perplexity that is not"
    assert Path(mine, "scores.json").read_text() == kept


def test_what_is_chosen_needs_the_texts_of_the_run(sgrnn: Commands) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine", "--training.max_updates=2")
    Path("texts/test.txt").rename("test.txt")
    rmtree("texts")
    for options in (SGD[:-2], SGD[:1], CACHE[:-2]):
        message = sgrnn.refused("evaluate", "mine", "--text", "test.txt", *options)
        assert message.startswith("mine needs its text: ")
        assert message.endswith(
            "; or adapt by the run folder alone: --dynamic with --sgd, --learning-rate and --decay, --cache with "
            "--weight, --flatness and --size"
        )


def test_runs_without_a_text_are_refused(sgrnn: Commands, folder: Path) -> None:
    sgrnn.well("train", "copy-synthetic", "--run", "task", "--training.max_updates=1")
    assert sgrnn.refused("evaluate", "task", "--dynamic") == (
        "--dynamic adapts a model to a text, and task learned a task: remove it"
    )
    assert sgrnn.refused("evaluate", "task", "--cache") == (
        "--cache adapts a model to a text, and task learned a task: remove it"
    )
    Path("apart").mkdir()
    Path("apart/recipe.yaml").write_text(sgrnn.well("recipes", "show", "mnist-cdni", "--resolved"))
    assert sgrnn.refused("evaluate", "apart", "--dynamic") == (
        "--dynamic adapts a model to a text, and apart learned a task by decoupled modules: remove it"
    )
