"""``sgrnn evaluate``: the score of a run on a split of its data, or on any text."""

import sys
from collections.abc import Iterator
from functools import partial
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgrnn.cli.adapted import Adaptation, settings_of
from sgrnn.cli.options import DataOption, RunArgument, at_home
from sgrnn.errors import InputError, quoted
from sgrnn.training.console import PlainConsole

if TYPE_CHECKING:
    from sgrnn.data import TokenFiles
    from sgrnn.models.evaluation import Score
    from sgrnn.training.run import Run

_BEGINNING = 60  # characters of a line that are shown


def evaluate(
    run: RunArgument,
    split: Annotated[
        str | None,
        typer.Option(help="train, valid or test, or train-part, as long as valid; test if left out."),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            help="Score this text file instead, by the run folder alone; - for standard input.", callback=at_home
        ),
    ] = None,
    lines: Annotated[bool, typer.Option("--lines", help="With --text: print the score of every line too.")] = False,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Go on learning from the text, each token after it was scored.")
    ] = False,
    sgd: Annotated[
        bool, typer.Option("--sgd", help="With --dynamic: by plain gradients, not over their RMS on the train text.")
    ] = False,
    learning_rate: Annotated[
        float | None, typer.Option(help="With --dynamic; chosen on the validation text if left out.")
    ] = None,
    decay: Annotated[
        float | None, typer.Option(help="With --dynamic: the way back to the trained weights; chosen likewise.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=1, help="With --dynamic: steps between two updates; 5 if left out.")
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Mix in the words that followed the outputs most like the present one.")
    ] = False,
    weight: Annotated[
        float | None, typer.Option(help="With --cache: its part; chosen on the validation text if left out.")
    ] = None,
    flatness: Annotated[
        float | None, typer.Option(help="With --cache: how sharply likeness tells; chosen likewise.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, max=2**63 - 1, help="With --cache: steps remembered; chosen likewise.")
    ] = None,
    choose_on: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of the validation text to choose on: all, with --dynamic 10,000."),
    ] = None,
    data: DataOption = None,
) -> None:
    """Score a run's best checkpoint: perplexity of a text, every token counted once; accuracy on a task.

    Example: sgrnn evaluate runs/ptb-word-small-1 --split test

    Example: sgrnn evaluate runs/ptb-word-small-1 --text book.txt --lines

    Example: sgrnn evaluate runs/ptb-word-small-1 --cache --dynamic --learning-rate 5e-5 --decay 0.002
    """
    adaptation = Adaptation(
        dynamic, sgd, learning_rate, decay, window, cache, weight, flatness, size, choose_on
    )  # fmt: skip
    adaptation.check()
    from sgrnn.training.run import Run

    opened = Run.open(run)
    adaptation.require_text(opened)
    from sgrnn.training.generalization import TRAIN_PART  # loads torch, which is not needed to refuse a folder

    if split == TRAIN_PART and adaptation:
        option = "--dynamic" if dynamic else "--cache"
        raise InputError(f"--split {TRAIN_PART} is for the generalization gap, without adaptation: remove {option}")
    if text is not None:
        if split is not None:
            raise InputError(f"--text names the text to score: remove --split {split}")
        _evaluate_text(opened, text, lines, adaptation, data)
    elif lines:
        raise InputError("--lines goes with --text, the file whose lines are scored: name one")
    else:
        _evaluate_split(opened, "test" if split is None else split, adaptation, data)


def _evaluate_split(run: "Run", split: str, adaptation: Adaptation, data: Path | None) -> None:
    """Score a split of a run's own data, and keep the score."""
    import torch

    from sgrnn.config.build.optimizer import device_of_use
    from sgrnn.data import data_folder
    from sgrnn.models.language_model import LanguageModel
    from sgrnn.training.best import open_trained
    from sgrnn.training.display import score_text
    from sgrnn.training.generalization import TRAIN_PART, train_part_metrics
    from sgrnn.training.problems.opening import problem_of
    from sgrnn.training.problems.text_problem import TextProblem
    from sgrnn.training.threads import threads_for

    try:
        problem = problem_of(run, data_folder(data))
    except InputError as error:
        if run.tokenizer is None:
            raise
        raise InputError(
            f"{error}; or score a text file by the run folder alone: `sgrnn evaluate {quoted(run.folder)} --text FILE`"
        ) from None
    trained = open_trained(run, problem)
    model = trained.model.to(device_of_use(run.recipe.training.device))
    update = trained.checkpoint.progress["update"]
    console = PlainConsole(soft_wrap=True)
    if isinstance(problem, TextProblem):
        assert isinstance(model, LanguageModel), "as a text's problem builds it"
        files = problem.files
        if split == TRAIN_PART:
            with threads_for(run.recipe, problem.build_model):
                metrics = train_part_metrics(problem, model)
            _keep_score(run, split, update, metrics)
            console.print(f"{problem.name} {split}: {score_text(metrics)}")
            return
        with threads_for(run.recipe, problem.build_model):
            _ = files[split]  # refused before anything takes long
            dynamic, cache = adaptation.settle(model, lambda: files, console)
            score = problem.exact_score(model, split, dynamic=dynamic, cache=cache)
        _keep_score(run, f"{split}{adaptation.name}", update, score.metrics() | settings_of(dynamic, cache))
        for line in _score_lines(score, f"{problem.name} {split}{adaptation.name}"):
            console.print(line)
        return
    problem.load_state_dict(trained.checkpoint.load_state(torch.device("cpu")))  # with the length that it had reached
    with threads_for(run.recipe, problem.build_model):
        metrics = problem.score(model, split)
    _keep_score(run, split, update, metrics)
    console.print(f"{problem.name} {split}: {score_text(metrics)}")


def _keep_score(run: "Run", split: str, update: int, metrics: dict[str, float]) -> None:
    """Keep a score in the run folder, for `sgrnn report` and `sgrnn compare`; a folder of others may not let us."""
    from sgrnn.training.about import keep_score

    try:
        keep_score(run, split, update, metrics)
    except InputError as error:
        print(f"the score was not kept: {error}", file=sys.stderr)


def _evaluate_text(run: "Run", file: Path, lines: bool, adaptation: Adaptation, data: Path | None) -> None:
    """Score a file of text by what lies in a run's folder, and by its own texts where settings are chosen on them."""
    if run.tokenizer is None:
        raise InputError(
            f"{run.folder} learned a task, which no text is scored by: try `sgrnn evaluate {quoted(run.folder)}`"
        )
    from sgrnn.data.beginnings import document_beginnings
    from sgrnn.data.corpora import with_lines_stripped
    from sgrnn.data.text_files import decode_text, read_text
    from sgrnn.training.loading import build_untrained, load
    from sgrnn.training.scoring import score_lines
    from sgrnn.training.threads import threads_for

    piped = str(file) == "-"
    if piped and sys.stdin is None:
        raise InputError("standard input is closed: expected a UTF-8 text there")
    name = "standard input" if piped else str(file)
    text = decode_text(sys.stdin.buffer.read(), name) if piped else read_text(file)
    model, tokenizer = load(run)
    section, beginnings = run.recipe.data, None
    assert section is not None, "it has a tokenizer"
    if section.corpus == "ptb":
        text = with_lines_stripped(text)
    if section.reset == "document":
        beginnings = partial(
            document_beginnings, eos_id=tokenizer.eos_id, separator=section.separator,
            headings=section.corpus == "wikitext-2",
        )  # fmt: skip
    console = PlainConsole(soft_wrap=True)
    with threads_for(run.recipe, partial(build_untrained, run)):
        dynamic, cache = adaptation.settle(model, partial(_own_texts, run, data, adaptation), console)
        score, by_line = score_lines(
            model, tokenizer, text, source=name, beginnings=beginnings, dynamic=dynamic, cache=cache
        )
    if lines:
        print(f"{'line':>7} {'tokens':>7} {'nats':>10} {'perplexity':>11}  text")
        for number, line in enumerate(by_line, 1):
            shown = line.text if len(line.text) <= _BEGINNING else f"{line.text[: _BEGINNING - 1]}…"
            print(f"{number:>7} {line.tokens:>7} {line.nats:>10.4f} {line.perplexity:>11.2f}  {shown}")
    for line in _score_lines(score, f"{name}{adaptation.name}"):
        print(line)


def _own_texts(run: "Run", data: Path | None, adaptation: Adaptation) -> "TokenFiles":
    """Open the texts that a run was trained and validated on, those unchanged that an adaptation needs."""
    from sgrnn.data import data_folder
    from sgrnn.training.belonging import require_texts
    from sgrnn.training.problems.opening import problem_of
    from sgrnn.training.problems.text_problem import TextProblem

    try:
        problem = problem_of(run, data_folder(data))
        require_texts(run, problem, ("train", "valid") if adaptation.dynamic else ("valid",))
    except InputError as error:
        raise InputError(
            f"{error}; or adapt by the run folder alone: --dynamic with --sgd, --learning-rate and --decay, --cache "
            "with --weight, --flatness and --size"
        ) from None
    assert isinstance(problem, TextProblem), "it has a tokenizer"
    return problem.files


def _score_lines(score: "Score", text: str) -> Iterator[str]:
    """Yield the lines that show a score.

    Args:
        score: the score.
        text: the name of the text that was evaluated.
    """
    words = "" if score.words is None else f"{score.words:,} words, "
    yield f"{text}: {score.tokens:,} tokens, {words}{score.characters:,} characters, {score.bytes:,} bytes"
    yield f"{score.loss:.4f} nats per token, perplexity {score.perplexity:.2f} per token"
    if score.unknown_written:
        yield f"<unk> is a word of the text itself: {score.unknown_written / score.tokens:.2%} of the tokens"
    if score.unknown_nats:
        bits = score.unknown_nats / log(2) / score.characters
        yield f"{bits:.4f} of the bits per character spell what <unk> stands for"
    per_word = "" if score.word_perplexity is None else f"{score.word_perplexity:.2f} per word, "
    yield (
        f"{per_word}{score.bits_per_character:.4f} bits per character, {score.bits_per_byte:.4f} bits per byte, "
        f"<unk> {score.unknown_share:.2%} of the tokens"
    )
