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


def generate(
    run: RunArgument,
    prompt: Annotated[str, typer.Option(help="Text that the model reads first.")] = "",
    length: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 200,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from so many of the likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Of these, from the likeliest that together have this probability.")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text, such as $'\\n'; may be given several times.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Number of texts.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="For the same text again.")] = None,
) -> None:
    """Generate text from a run's best checkpoint.

    Example: sgrnn generate runs/quickstart-1 --prompt "The " --length 300 --top-p 0.9 --samples 3 --seed 1
    """
    from sgrnn.training.run import Run

    opened = Run.open(run)
    if opened.tokenizer is None:
        raise InputError(f"{run} learned a task, which has no text to generate: try `sgrnn evaluate {run}`")
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise InputError(f"the prompt must be UTF-8 text, got {prompt!r}") from None
    from sgrnn.training.loading import build_untrained, load
    from sgrnn.training.sampling import sample_texts
    from sgrnn.training.threads import threads_for

    if unknown := opened.tokenizer.encode_prompt(prompt).unknown:
        print(f"not in the vocabulary, read as <unk>: {', '.join(unknown)}", file=sys.stderr)
    model, tokenizer = load(opened)
    with threads_for(opened.recipe, partial(build_untrained, opened)):
        texts = sample_texts(
            model, tokenizer, prompt, length, temperature, seed,
            top_k=top_k, top_p=top_p, stop=stop or (), samples=samples,
        )  # fmt: skip
    console = Console(markup=False, highlight=False)
    for number, text in enumerate(texts, 1):
        if samples > 1:
            console.rule(f"sample {number} of {samples}")
        print(text)


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
    from sgrnn.analysis.differences import differences
    from sgrnn.analysis.standing import standing_of

    headings, rows = table_of(opened)
    table = numbers_table(*headings, title="best on the validation split", left=1)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False)
    print_table(console, table)
    standing = [standing_of(run) for run in opened]
    going_on = [f"{each.run.name}: {each.text}" for each in standing if not each.complete]
    warnings = [f"caution: {caution}" for caution in cautions(opened)]
    for line in [*differences(opened), *warnings, *going_on, *without_evaluation(opened)]:
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
