"""What a run's folder alone gives back: model, tokenizer, and the score of any text."""

import json
import re
from collections.abc import Callable
from math import exp
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_model

import sgrnn
from sgrnn.config.files import parse_recipe
from sgrnn.data import SPLITS, CharacterTokenizer, Tokenizer, load_texts, train_tokenizer
from sgrnn.errors import InputError
from sgrnn.models.language_model import LanguageModel
from sgrnn.models.readout import Readout
from sgrnn.training import loop
from sgrnn.training.checkpoints import best_update, latest_checkpoint
from sgrnn.training.problems.opening import new_problem
from sgrnn.training.problems.text_problem import TextProblem
from sgrnn.training.run import Run
from sgrnn.training.scoring import score_lines

from .tiny import Training

Start = Callable[..., Training]

WORDS = ("--data.tokenizer.kind=word", "--data.tokenizer.vocabulary_size=8", "--training.max_updates=3")


def moved(run: Run, folder: Path) -> Path:
    """A copy of a run's folder in another place, where its texts and encoded texts are no more."""
    copytree(run.folder, folder / "elsewhere")
    for path in run.folder.parent.iterdir():
        if path != folder / "elsewhere":
            rmtree(path) if path.is_dir() else path.unlink()
    return folder / "elsewhere"


@pytest.mark.parametrize("overrides", [(), WORDS], ids=["characters", "words"])
def test_a_text_is_scored_by_the_folder_alone_as_with_the_corpus(
    start: Start, folder: Path, overrides: tuple[str, ...]
) -> None:
    training = start("run", *overrides)
    training()
    model = training.problem.build_model()
    checkpoint = latest_checkpoint(training.run.checkpoints)
    assert checkpoint is not None
    checkpoint.load_model(model)
    problem = training.problem
    expected = {split: problem.exact_score(model, split) for split in SPLITS}
    texts = {split: (folder / f"{split}.txt").read_text() for split in SPLITS}
    place = moved(training.run, folder)
    loaded, tokenizer = sgrnn.load(str(place))
    assert not loaded.training
    file = folder / "text.txt"
    for split, text in texts.items():
        file.write_text(text)
        assert sgrnn.score(loaded, tokenizer, text) == sgrnn.score(loaded, tokenizer, file) == expected[split]
    assert (expected["test"].unknown > 0) == bool(overrides)
    assert expected["test"].words == 15


def test_words_are_counted_in_a_text_as_in_the_corpus_where_they_are_not_between_blanks(stand_ins: Path) -> None:
    text = """
data: {corpus: ptb-char, tokenizer: {kind: character}}
model: {core: lstm, hidden_size: 4}
gradient: {kind: truncated, window: 3}
training: {epochs: 1, batch_size: 4, span: 3}
"""
    problem, tokenizer = new_problem(parse_recipe(text, "recipe"), stand_ins)
    assert isinstance(problem, TextProblem)
    assert tokenizer is not None
    counts = problem.files["test"].counts
    assert tokenizer.counts(load_texts("ptb-char", stand_ins).texts["test"]) == counts
    assert counts.words is not None


def test_the_best_checkpoint_is_loaded_or_the_latest(start: Start) -> None:
    training = start("run", "--training.max_updates=60", "--optimizer.learning_rate=1.0")
    training()
    folder = training.run.checkpoints
    best = best_update(folder)
    assert best is not None
    assert best < 60
    for latest, update in ((False, best), (True, 60)):
        expected = training.problem.build_model()
        load_model(expected, folder / f"update-{update:09d}" / "model.safetensors")
        model, _ = sgrnn.load(training.run, latest=latest)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_a_run_that_was_trained_on_a_gpu_is_loaded_where_there_is_none(trained: Training) -> None:
    path = trained.run.folder / "recipe.yaml"
    path.write_text(path.read_text().replace("device: cpu", "device: cuda"))
    model, _ = sgrnn.load(trained.run.folder)
    assert next(model.parameters()).device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("kind", ["copy", "mnist, by: row"])
def test_a_run_on_a_task_has_a_readout_and_no_tokenizer(kind: str, tmp_path: Path, stand_ins: Path) -> None:
    text = f"""
task: {{kind: {kind}}}
model: {{core: lstm, hidden_size: 4}}
gradient: {{kind: truncated, window: 3}}
training: {{epochs: 1, max_updates: 1, batch_size: 4, span: 3, device: cpu}}
"""
    recipe = parse_recipe(text, "recipe")
    problem, tokenizer = new_problem(recipe, stand_ins)
    run = Run.create(tmp_path / "run", recipe, tokenizer)
    expected = loop.train(run, problem, lambda record: None)
    model, tokenizer = sgrnn.load(run.folder)
    assert isinstance(model, Readout)
    assert tokenizer is None
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))
    with pytest.raises(InputError, match="scored by a LanguageModel, got a Readout: a run on a task has none"):
        sgrnn.score(model, tokenizer, "a\n")  # pyright: ignore[reportArgumentType]


def test_what_is_no_run_or_has_no_checkpoint_is_refused(start: Start, folder: Path) -> None:
    with pytest.raises(InputError, match="holds no run: expected"):
        sgrnn.load(folder)
    with pytest.raises(InputError, match="has no checkpoint yet: go on with `sgrnn resume"):
        sgrnn.load(start("run").run)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, Tokenizer]:
    """A model made by hand with a tokenizer of words."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer("word", "the cat saw the dog\nthe dog saw\n" * 3, vocabulary_size=5)
    return LanguageModel(5, 6, sgrnn.LSTM(6, 6), 6, dropout=0.5, initial_range=1.0).double(), tokenizer


@torch.no_grad()
def nats_by_hand(model: LanguageModel, tokens: list[int], first: int) -> list[float]:
    model.eval()
    state, nats = model.initial_state(1), []
    for read, token in zip([first, *tokens], tokens, strict=False):
        outputs, state = model(torch.tensor([[read]]), state)
        nats.append(-float(model.logits(outputs)[0, 0].log_softmax(-1)[token]))
    return nats


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("the cat\n\nthe zebra saw\nthe dog", [3, 1, 4, 2]),
        ("the\n", [2]),
        ("\n", [1]),
        ("the\n  ", [2, 0]),
    ],
)
def test_lines_are_scored_given_what_came_before_and_add_up(
    pair: tuple[LanguageModel, Tokenizer], text: str, lines: list[int]
) -> None:
    model, tokenizer = pair
    model.train()
    whole, scored = score_lines(model, tokenizer, text)
    assert whole == sgrnn.score(model, tokenizer, text)
    assert model.training, "left in its mode"
    expected = nats_by_hand(model, tokenizer.encode(text).tolist(), tokenizer.eos_id)
    assert [line.text for line in scored] == text.removesuffix("\n").split("\n")
    assert [line.tokens for line in scored] == lines
    ends = np.cumsum(lines)
    for line, end in zip(scored, ends, strict=True):
        assert line.nats == pytest.approx(sum(expected[end - line.tokens : end]), rel=1e-10)
        assert line.perplexity == pytest.approx(exp(line.nats / max(line.tokens, 1)))
    assert sum(line.nats for line in scored) == pytest.approx(whole.nats, rel=1e-12)


def test_a_compiled_model_is_scored_as_it_is(pair: tuple[LanguageModel, Tokenizer]) -> None:
    compiled: Any = torch.compile(pair[0], backend="eager")
    assert sgrnn.score(compiled, pair[1], "the cat\n") == sgrnn.score(*pair, "the cat\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text to score must hold at least one token, got none"),
        (" ", "the text to score must hold at least one token, got none"),
        ("a <eos> b\n", "the text holds the word <eos> in line 1"),
        (Path("nowhere.txt"), "nowhere.txt does not exist; expected a UTF-8 text file: check the path"),
        (
            ["a\n", "b\n"],
            "text must be a text, its lines joined by line ends, or the pathlib.Path of a file, got a list",
        ),
        (
            __file__,
            f"text must be a text, its lines joined by line ends, or the pathlib.Path of a file, got {__file__!r}",
        ),
    ],
    ids=["empty", "blank", "spelled line end", "no file", "lines", "name of a file"],
)
def test_what_is_no_text_is_refused(pair: tuple[LanguageModel, Tokenizer], text: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        sgrnn.score(*pair, text)


def test_another_tokenizer_or_one_that_does_not_know_its_train_text_is_refused(
    pair: tuple[LanguageModel, Tokenizer], trained: Training
) -> None:
    with pytest.raises(InputError, match=r"must be the one that the model was trained with: .* vocabulary of 5, got 3"):
        sgrnn.score(pair[0], CharacterTokenizer.from_text("ab\n"), "ab\n")
    path = trained.run.folder / "tokenizer" / "tokenizer.json"
    form = json.loads(path.read_text())
    del form["spelling"]
    path.write_text(json.dumps(form))  # as a run of an earlier version has it
    loaded = sgrnn.load(trained.run.folder)
    with pytest.raises(InputError, match=r"lacks the spelling of its train text, .* where its corpus is, by `sgrnn ev"):
        sgrnn.score(*loaded, "ab\n")
