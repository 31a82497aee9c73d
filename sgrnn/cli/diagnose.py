"""``sgrnn diagnose``: a run's synthetic gradients against the true ones, in tables."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sgrnn.cli.options import DataOption, RunArgument
from sgrnn.cli.tables import numbers_table, print_table
from sgrnn.training.console import PlainConsole

_NEVER = 1e6  # updates: a bias of rounding errors shows after more


def diagnose(
    run: RunArgument,
    horizon: Annotated[int, typer.Option(min=1, help="Steps ahead that the true gradient is followed.")] = 50,
    spans: Annotated[int, typer.Option(min=2, help="Spans that metrics are averaged over.")] = 200,
    data: DataOption = None,
) -> None:
    """Measure a run's synthetic gradients against the true ones, at its best checkpoint; kept in the run folder.

    Example: sgrnn diagnose runs/quickstart-1 --horizon 50 --spans 200
    """
    from sgrnn.data import data_folder
    from sgrnn.training.run import Run

    opened = Run.open(run)
    from sgrnn.analysis.diagnosis import diagnose as measure
    from sgrnn.analysis.diagnosis import own_window, write_diagnosis
    from sgrnn.analysis.verdict import worth

    console = PlainConsole(soft_wrap=True)
    with console.status(Text(f"measuring {run}")):  # a plain string would be read as markup, whatever the console
        metrics = measure(opened, data_folder(data), horizon=horizon, spans=spans)
    print_diagnosis(console, metrics, own_window(opened))
    console.print(f"in short: {worth(opened, metrics)}")
    path = write_diagnosis(opened, metrics)  # last, so that a folder that may not be written to costs no measurement
    console.print(f"metrics: {path}")


def print_diagnosis(console: Console, metrics: dict[str, Any], window: int | None) -> None:
    """Print a diagnosis as tables, and what they come to in words.

    Args:
        console: where to print.
        metrics: as `sgrnn.analysis.diagnosis.diagnose` measures them.
        window: T of the run's own estimator, to compare with truncation at the same T; None if it has none.
    """
    bias = metrics["bias"]
    for table in (
        _alignment(metrics["alignment"]),
        _contenders(bias),
        _tensors(bias, window),
        _health(metrics["health"]),
    ):
        print_table(console, table)
    console.print(_summary(metrics))


def _summary(metrics: dict[str, Any]) -> str:
    """Sum the metrics up in a few lines."""
    alignment, bias = metrics["alignment"], metrics["bias"]
    shows = _updates(bias, 0)
    text = bias["equivalent_window"]["text"]
    worth = f"this estimator is {text} of plain truncation"
    if bias["equivalent_window"]["value"] is None:
        worth = f"what this estimator is worth is {text}"
    lines = (
        f"horizon: 90% of the true gradient lies within {_steps(alignment['true_horizon'])} steps, "
        f"of what is injected within {_steps(alignment['injected']['horizon'])}\n"
        f"bias: {_at(bias['relative_error'], 0, 0)} of the mean parameter gradient; "
        f"shows above the noise after so many updates: {shows}\n{worth}"
    )
    if "recovered" in metrics:
        lines += f"\nloss recovered from the predictions: R² {_estimate(metrics['recovered'])}"
    return lines


def _alignment(metrics: dict[str, Any]) -> Table:
    """Make a table with a row for each horizon h."""
    title = "what is injected at a boundary, against the true gradient of the next h steps"
    table = numbers_table("h", "cosine", "R²", "norm ratio", title=title)
    parts = metrics["parts"][1:] if len(metrics["parts"]) > 2 else []
    for part in parts:
        table.add_column(f"R² {part}", justify="right", no_wrap=True)
    injected = metrics["injected"]
    for place, lag in enumerate(metrics["lags"]):
        whole = [_at(injected[key], 0, place) for key in ("cosine", "r2", "norm_ratio")]
        table.add_row(str(lag), *whole, *(_at(injected["r2"], number + 1, place) for number in range(len(parts))))
    return table


def _contenders(metrics: dict[str, Any]) -> Table:
    """Make a table with a row for the estimator and each plain truncation."""
    title = "mean gradient of all parameters, against a long window's"
    table = numbers_table("", "relative error", "cosine", "shows after updates", title=title)
    for place, contender in enumerate(metrics["contenders"]):
        error, cosine = (_at(metrics[key], place, 0) for key in ("relative_error", "cosine"))
        if metrics["cosine_outside"][place][0]:
            cosine = f"{cosine} *"
            table.caption, table.caption_justify = "* by noise the estimate came out beyond ±1: take more spans", "left"
        table.add_row(contender, error, cosine, _updates(metrics, place))
    return table


def _tensors(metrics: dict[str, Any], own: int | None) -> Table:
    """Make a table with a row for each parameter: the estimator beside truncation at the same T, and the noise."""
    title = "relative error of the mean gradient, by parameter"
    table = numbers_table("parameter", "estimator", title=title)
    same = metrics["windows"].index(own) + 1 if own in metrics["windows"] else None
    if same is not None:
        table.add_column(f"truncated T={own}", justify="right", no_wrap=True)
    table.add_column("noise of one update", justify="right", no_wrap=True)
    for number, tensor in enumerate(metrics["tensors"]):
        errors = [_at(metrics["relative_error"], place, number) for place in (0, same) if place is not None]
        table.add_row(tensor, *errors, _number(metrics["noise_ratio"][number], ".2f"))
    return table


def _health(metrics: dict[str, Any]) -> Table:
    """Make a table with a column for each part of the state."""
    table = numbers_table("", *metrics["parts"], title="states and predictions at the boundaries")
    for name, key in (
        ("norm of the state", "norm"),
        ("size of a prediction", "size"),
        ("common to all rows", "common"),
        ("along the state", "radial"),
    ):
        table.add_row(name, *(_at(metrics[key], number) for number in range(len(metrics["parts"]))))
    return table


def _updates(bias: dict[str, Any], contender: int) -> str:
    """Say after how many updates a bias shows above the noise."""
    if bias["relative_error"]["value"][contender][0] is None:
        return "unknown"
    number = bias["updates_to_show"][contender][0]
    return "never" if number is None or number > _NEVER else f"{number:,.0f}"


def _at(estimate: dict[str, Any], *place: int) -> str:
    value, error = estimate["value"], estimate["error"]
    for index in place:
        value, error = value[index], error[index]
    return _estimate({"value": value, "error": error})


def _estimate(estimate: dict[str, Any], form: str = ".3f") -> str:
    value, error = estimate["value"], estimate["error"]
    return _number(value, form) + ("" if error is None else f" ± {format(error, form)}")


def _steps(estimate: dict[str, Any]) -> str:
    """Return a number of steps as text, with a note where the spans are too few to know it."""
    from sgrnn.diagnostics.estimates import is_unknown

    value, error = estimate["value"], estimate["error"]
    unknown = value and error is not None and is_unknown(value, error)
    return _estimate(estimate, ".1f") + (" (not known: take more spans)" if unknown else "")


def _number(value: float | None, form: str) -> str:
    return "?" if value is None else format(value, form)
