"""``sgrnn export``: a run's model in a folder of its own."""

from os.path import expanduser  # which leaves what it does not know as it is
from pathlib import Path
from typing import Annotated

import typer

from sgrnn.cli.options import RunArgument
from sgrnn.exports import Format


def export(
    run: RunArgument,
    folder: Annotated[Path, typer.Argument(help="Where the model goes: a folder that does not exist, or is empty.")],
    formats: Annotated[
        list[Format] | None, typer.Option("--format", help="Once for each format; safetensors if none is named.")
    ] = None,
) -> None:
    """Write the model of a run's best checkpoint to a folder that others can use, with its tokenizer.

    Graphs (onnx, torch) read inputs and state and give predictions and state; they are compared with the model first.

    Example: sgrnn export runs/quickstart-1 exported --format safetensors --format onnx
    """
    from sgrnn.training.run import Run

    opened, folder = Run.open(run), Path(expanduser(folder))
    from sgrnn.training.exporting import export

    differences = export(opened, folder, formats or Format.SAFETENSORS)
    from sgrnn.exports.agreement import STEPS

    for name, difference in differences.items():
        print(f"{name}: differs from the model by {difference:.1e} at most, {STEPS} steps one at a time and in chunks")
    print(f"exported {run} to {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
