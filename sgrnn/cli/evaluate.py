"""``sgrnn evaluate``: the score of a run on a split of its data, or on any text."""

import sys
from collections.abc import Iterator
from functools import partial
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sgrnn.cli.options import DataOption, RunArgument
from sgrnn.errors import InputError

if TYPE_CHECKING:
    from sgrnn.models.evaluation import Score
    from sgrnn.training.run import Run

_BEGINNING = 60  # characters of a line that are shown


def evaluate(
    run: RunArgument,
    split: Annotated[
        str | None, typer.Option(help="train, valid or test, of the run's own data; test if left out.")
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(help="Score this text file instead, by the run folder alone; - for standard input."),
    ] = None,
    lines: Annotated[bool, typer.Option("--lines", help="With --text: print the score of every line too.")] = False,
    data: DataOption = None,
) -> None:
    """Score a run's best checkpoint: perplexity of a text, every token counted once; accuracy on a task.

    Example: sgrnn evaluate runs/ptb-word-small-1 --split test

    Example: sgrnn evaluate runs/ptb-word-small-1 --text book.txt --lines
    """
    from sgrnn.training.run import Run

    opened = Run.open(run)
    if text is not None:
        if split is not None:
            raise InputError(f"--text names the text to score: remove --split {split}")
        _evaluate_text(opened, text, lines)
        return
    if lines:
        raise InputError("--lines goes with --text, the file whose lines are scored: name one")
    split = split or "test"
    import torch

    from sgrnn.config.build.optimizer import device_of_use
    from sgrnn.data import data_folder
    from sgrnn.training.best import open_trained
    from sgrnn.training.display import score_text
    from sgrnn.training.problems.opening import problem_of
    from sgrnn.training.problems.text_problem import TextProblem
    from sgrnn.training.threads import threads_for

    try:
        problem = problem_of(opened, data_folder(data))
    except InputError as error:
        if opened.tokenizer is None:
            raise
        raise InputError(
            f"{error}; or score a text file by the run folder alone: `sgrnn evaluate {run} --text FILE`"
        ) from None
    trained = open_trained(opened, problem)
    model = trained.model.to(device_of_use(opened.recipe.training.device))
    update = trained.checkpoint.progress["update"]
    console = Console(markup=False, highlight=False, soft_wrap=True)
    if isinstance(problem, TextProblem):
        with threads_for(opened.recipe, problem.build_model):
            score = problem.exact_score(model, split)
        for line in _score_lines(score, f"{problem.name} {split}"):
            console.print(line)
        _keep_score(opened, split, update, score.metrics())
        return
    problem.load_state_dict(trained.checkpoint.load_state(torch.device("cpu")))  # with the length that it had reached
    with threads_for(opened.recipe, problem.build_model):
        metrics = problem.score(model, split)
    console.print(f"{problem.name} {split}: {score_text(metrics)}")
    _keep_score(opened, split, update, metrics)


def _keep_score(run: "Run", split: str, update: int, metrics: dict[str, float]) -> None:
    """Keep a score in the run folder, for `sgrnn report` and `sgrnn compare`; a folder of others may not let us."""
    from sgrnn.training.about import keep_score

    try:
        keep_score(run, split, update, metrics)
    except InputError as error:
        print(f"the score was not kept: {error}", file=sys.stderr)


def _evaluate_text(run: "Run", file: Path, lines: bool) -> None:
    """Score a file of text by what lies in a run's folder."""
    if run.tokenizer is None:
        raise InputError(f"{run.folder} learned a task, which no text is scored by: try `sgrnn evaluate {run.folder}`")
    from sgrnn.data.text_files import decode_text, read_text
    from sgrnn.training.loading import build_untrained, load
    from sgrnn.training.scoring import score_lines
    from sgrnn.training.threads import threads_for

    piped = str(file) == "-"
    name = "standard input" if piped else str(file)
    text = decode_text(sys.stdin.buffer.read(), name) if piped else read_text(file)
    model, tokenizer = load(run)
    with threads_for(run.recipe, partial(build_untrained, run)):
        score, by_line = score_lines(model, tokenizer, text, source=name)
    if lines:
        print(f"{'line':>7} {'tokens':>7} {'nats':>10} {'perplexity':>11}  text")
        for number, line in enumerate(by_line, 1):
            shown = line.text if len(line.text) <= _BEGINNING else f"{line.text[: _BEGINNING - 1]}…"
            print(f"{number:>7} {line.tokens:>7} {line.nats:>10.4f} {line.perplexity:>11.2f}  {shown}")
    for line in _score_lines(score, name):
        print(line)


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
