"""``sgrnn generate`` and ``sgrnn compare``: the texts and curves of runs."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgrnn.cli.options import RunArgument, at_home
from sgrnn.cli.tables import numbers_table, print_table
from sgrnn.errors import InputError, quoted
from sgrnn.training.console import PlainConsole

if TYPE_CHECKING:
    from sgrnn.training.run import Run

_FORMS = ("", ".png", ".svg", ".pdf")  # of figures, by the end of a name


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
        raise InputError(f"{run} learned a task, which has no text to generate: try `sgrnn evaluate {quoted(run)}`")
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
    console = PlainConsole()
    for number, text in enumerate(texts, 1):
        if samples > 1:
            console.rule(f"sample {number} of {samples}")
        print(text)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="The folders of two or more runs.")],
    output: Annotated[
        Path, typer.Option(help="Where the overlaid curves go: .png, .svg or .pdf.", callback=at_home)
    ] = Path("compare.png"),
) -> None:
    """Print a table of runs, and draw their learning curves over each other.

    Example: sgrnn compare runs/truncated runs/synthetic --output compare.png
    """
    if output.suffix.lower() not in _FORMS:
        raise InputError(f"--output must end in .png, .svg or .pdf, got {output}")
    opened = open_runs(runs)
    from sgrnn.analysis.comparison import cautions, table_of, without_evaluation
    from sgrnn.analysis.curves import plot_curves
    from sgrnn.analysis.differences import differences
    from sgrnn.analysis.standing import standing_of

    headings, rows = table_of(opened)
    table = numbers_table(*headings, title="best on the validation split", left=1)
    for row in rows:
        table.add_row(*row)
    console = PlainConsole(highlight=True)
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
