"""``sgrnn evaluate``, ``sgrnn generate`` and ``sgrnn compare``: what can be asked of runs."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sgrnn.cli.options import DataOption, RunArgument
from sgrnn.cli.tables import figures_table, print_table
from sgrnn.errors import InputError


def evaluate(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Rows of a text side by side; the result does not depend on it.")
    ] = None,
    data: DataOption = None,
) -> None:
    """Score a run's best checkpoint: perplexity of a text, every token counted once; accuracy on a task.

    Example: sgrnn evaluate runs/ptb-word-small-1 --split test
    """
    from sgrnn.training.run import Run

    opened = Run.open(run)
    import torch

    from sgrnn.data import data_folder
    from sgrnn.training.display import score_text
    from sgrnn.training.problems.scoring import score_lines
    from sgrnn.training.problems.text_problem import TextProblem
    from sgrnn.training.threads import threads_for
    from sgrnn.training.trained import open_trained

    trained = open_trained(opened, data_folder(data))
    problem, model = trained.problem, trained.model
    console = Console(markup=False, highlight=False, soft_wrap=True)
    if isinstance(problem, TextProblem):
        with threads_for(opened.recipe, problem.build_model):
            score = problem.exact_score(model, split, batch_size or 20)
        for line in score_lines(score, f"{problem.name} {split}", problem.files[split].unknown):
            console.print(line)
        return
    if batch_size is not None:
        raise InputError(f"--batch-size is for a text, and {run} learned the task {problem.name}: remove it")
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
    """Text from a run's best checkpoint.

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
    import numpy as np

    from sgrnn.config.build.model import build_model
    from sgrnn.models import generation
    from sgrnn.training.checkpoints import require_best
    from sgrnn.training.threads import threads_for

    encoded = opened.tokenizer.encode_prompt(prompt)
    if encoded.unknown:
        print(f"not in the vocabulary, read as <unk>: {', '.join(encoded.unknown)}", file=sys.stderr)
    read = encoded.tokens.tolist()
    build = partial(build_model, opened.recipe, opened.tokenizer.vocabulary_size)
    model, start = build(), [opened.tokenizer.eos_id, *read]
    require_best(opened.checkpoints).load_model(model)
    with threads_for(opened.recipe, build):
        drawn = list(generation.generate(model, start, length, temperature=temperature, seed=seed))
    print(opened.tokenizer.decode(np.array([*read, *drawn], np.int32)))


def compare(
    runs: Annotated[list[Path], typer.Argument(help="The folders of two or more runs.")],
    output: Annotated[Path, typer.Option(help="Where the overlaid curves go.")] = Path("compare.png"),
) -> None:
    """A table of runs and their learning curves over each other.

    Example: sgrnn compare runs/truncated runs/synthetic --output compare.png
    """
    from sgrnn.training.run import Run

    opened = [Run.open(folder) for folder in runs]
    from sgrnn.analysis.comparison import cautions, table_of, without_evaluation
    from sgrnn.analysis.curves import plot_curves

    headings, rows = table_of(opened)
    table = figures_table(*headings, title="best on the validation split", left=1)
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
