"""``sgrnn evaluate``, ``sgrnn generate`` and ``sgrnn compare``: the scores, texts and curves of runs."""

import sys
from collections.abc import Iterator
from functools import partial
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sgrnn.cli.options import DataOption, RunArgument
from sgrnn.cli.tables import numbers_table, print_table
from sgrnn.errors import InputError

if TYPE_CHECKING:
    from sgrnn.data.spelling import Unknown
    from sgrnn.models.evaluation import Score
    from sgrnn.training.run import Run


def evaluate(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    data: DataOption = None,
) -> None:
    """Score a run's best checkpoint: perplexity of a text, every token counted once; accuracy on a task.

    Example: sgrnn evaluate runs/ptb-word-small-1 --split test
    """
    from sgrnn.training.run import Run

    opened = Run.open(run)
    import torch

    from sgrnn.data import data_folder
    from sgrnn.training.best import open_trained
    from sgrnn.training.display import score_text
    from sgrnn.training.problems.text_problem import TextProblem
    from sgrnn.training.threads import threads_for

    trained = open_trained(opened, data_folder(data))
    problem, model = trained.problem, trained.model
    console = Console(markup=False, highlight=False, soft_wrap=True)
    if isinstance(problem, TextProblem):
        with threads_for(opened.recipe, problem.build_model):
            score = problem.exact_score(model, split)
        for line in _score_lines(score, f"{problem.name} {split}", problem.files[split].unknown):
            console.print(line)
        return
    problem.load_state_dict(trained.checkpoint.load_state(torch.device("cpu")))  # with the length that it had reached
    with threads_for(opened.recipe, problem.build_model):
        metrics = problem.score(model, split)
    console.print(f"{problem.name} {split}: {score_text(metrics)}")


def generate(
    run: RunArgument,
    prompt: Annotated[str, typer.Option(help="Text that the model reads first.")] = "",
    length: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 200,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")] = 0.8,
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="For the same text again.")] = None,
) -> None:
    """Generate text from a run's best checkpoint.

    Example: sgrnn generate runs/quickstart-1 --prompt "The " --length 300 --seed 1
    """
    from sgrnn.training.run import Run

    opened = Run.open(run)
    if opened.tokenizer is None:
        raise InputError(f"{run} learned a task, which has no text to generate: try `sgrnn evaluate {run}`")
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise InputError(f"the prompt must be UTF-8 text, got {prompt!r}") from None
    from sgrnn.config.build.model import build_model
    from sgrnn.training.best import open_language_model, sample_text
    from sgrnn.training.threads import threads_for

    if unknown := opened.tokenizer.encode_prompt(prompt).unknown:
        print(f"not in the vocabulary, read as <unk>: {', '.join(unknown)}", file=sys.stderr)
    model = open_language_model(opened)
    with threads_for(opened.recipe, partial(build_model, opened.recipe, opened.tokenizer.vocabulary_size)):
        print(sample_text(model, opened, prompt, length, temperature, seed))


def compare(
    runs: Annotated[list[Path], typer.Argument(help="The folders of two or more runs.")],
    output: Annotated[Path, typer.Option(help="Where the overlaid curves go.")] = Path("compare.png"),
) -> None:
    """Print a table of runs, and draw their learning curves over each other.

    Example: sgrnn compare runs/truncated runs/synthetic --output compare.png
    """
    opened = open_runs(runs)
    from sgrnn.analysis.comparison import cautions, table_of, without_evaluation
    from sgrnn.analysis.curves import plot_curves

    headings, rows = table_of(opened)
    table = numbers_table(*headings, title="best on the validation split", left=1)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False)
    print_table(console, table)
    for line in [*(f"caution: {caution}" for caution in cautions(opened)), *without_evaluation(opened)]:
        console.print(line, highlight=False, soft_wrap=True)
    try:
        plot_curves(opened, output)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}; name another file with --output") from None
    console.print(f"curves: {output}", soft_wrap=True)


def open_runs(folders: list[Path]) -> "list[Run]":
    """Open the runs that are to be shown side by side.

    Raises:
        InputError: a folder holds no run, or is named twice.
    """
    from sgrnn.training.run import Run

    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"runs must differ from each other, got {folder} twice: name each run once")
    return [Run.open(folder) for folder in folders]


def _score_lines(score: "Score", text: str, unknown: "Unknown") -> Iterator[str]:
    """Yield the lines that show a score.

    Args:
        score: the score.
        text: the name of the text that was evaluated.
        unknown: its `<unk>`.
    """
    words = "" if score.words is None else f"{score.words:,} words, "
    yield f"{text}: {score.tokens:,} tokens, {words}{score.characters:,} characters, {score.bytes:,} bytes"
    yield f"{score.loss:.4f} nats per token, perplexity {score.perplexity:.2f} per token"
    if unknown.written:
        yield f"<unk> is a word of the text itself: {unknown.written / score.tokens:.2%} of the tokens"
    if unknown.nats:
        bits = unknown.nats / log(2) / score.characters
        yield f"{bits:.4f} of the bits per character spell what <unk> stands for"
    per_word = "" if score.word_perplexity is None else f"{score.word_perplexity:.2f} per word, "
    yield (
        f"{per_word}{score.bits_per_character:.4f} bits per character, {score.bits_per_byte:.4f} bits per byte, "
        f"<unk> {score.unknown_share:.2%} of the tokens"
    )
