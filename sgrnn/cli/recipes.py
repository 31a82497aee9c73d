"""``sgrnn recipes``: the recipes that come with the package."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.table import Column, Table

from sgrnn.cli.options import TAKES_OVERRIDES, RecipeArgument, overrides_of
from sgrnn.cli.tables import print_table
from sgrnn.errors import InputError
from sgrnn.training.console import PlainConsole

_WIDEST = 100  # letters that a line of prose has at most

app = typer.Typer(
    no_args_is_help=True,
    help="List, show, copy and check recipes.\n\nExample: sgrnn recipes copy quickstart mine.yaml",
)


@app.command("list")
def list_recipes() -> None:
    """List the recipes that come with the package, each with its purpose.

    Example: sgrnn recipes list
    """
    from sgrnn.config.files import shipped_recipes

    table = Table(Column("recipe", no_wrap=True), "what it does")
    for name, text in shipped_recipes().items():
        table.add_row(name, text.splitlines()[0].lstrip("# "))
    print_table(PlainConsole(highlight=True), table)


@app.command(context_settings=TAKES_OVERRIDES)
def show(
    context: typer.Context,
    name: RecipeArgument,
    resolved: Annotated[bool, typer.Option("--resolved", help="With all defaults filled in.")] = False,
) -> None:
    """Print a recipe, as it is written or with overrides and defaults filled in.

    Example: sgrnn recipes show ptb-word-small --resolved --gradient.window=5
    """
    from sgrnn.config.files import dump_recipe, find_recipe, load_recipe

    overrides = overrides_of(context)
    if resolved or overrides:
        print(dump_recipe(load_recipe(name, overrides)), end="")
    else:
        print(find_recipe(name)[0], end="")


@app.command()
def copy(
    name: RecipeArgument,
    target: Annotated[Path | None, typer.Argument(help="The file to write; else NAME.yaml here.")] = None,
) -> None:
    """Copy a recipe, to make it your own.

    Example: sgrnn recipes copy quickstart mine.yaml
    """
    from sgrnn.config.files import find_recipe, read_mapping, shipped_recipes
    from sgrnn.config.paths import relative_paths
    from sgrnn.data.atomic import atomic_write

    text, source = find_recipe(name)
    path = target or Path(f"{Path(name).stem}.yaml")
    if path.exists():
        raise InputError(f"{path} exists already: remove it, or name another file")
    if source is not None and source.parent.resolve() != path.parent.resolve():
        fields = relative_paths(read_mapping(text, str(source), "a recipe is a mapping of sections"))
        if fields:
            raise InputError(
                f"{source}: {', '.join(fields)} would mean other files in {path.parent}, being relative to the recipe: "
                "make them absolute, or copy it within its folder"
            )
    try:
        with atomic_write(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    its_name = f"./{path}" if str(path) in shipped_recipes() else str(path)  # or that of the package would be trained
    print(f"{path}; train it with: sgrnn train {quote(its_name)}")


@app.command(context_settings=TAKES_OVERRIDES)
def check(context: typer.Context, name: RecipeArgument) -> None:
    """Check a recipe without training: all mistakes at once, each with its place.

    Example: sgrnn recipes check mine.yaml
    """
    from sgrnn.config.files import load_recipe

    load_recipe(name, overrides_of(context))
    print(f"{name} is a valid recipe")


@app.command()
def fields(
    section: Annotated[str, typer.Argument(help="A section or field, such as gradient.synthetic; else all.")] = "",
) -> None:
    """Print what the fields of a recipe mean, what they take, and what they are where they are left out.

    Example: sgrnn recipes fields gradient.synthetic
    """
    from shutil import get_terminal_size
    from textwrap import fill

    from sgrnn.config.reference import reference

    width = min(get_terminal_size().columns, _WIDEST)
    for described in reference(section):
        heading = f"{described.title}: {described.meaning}" if described.title else described.meaning
        print(fill(heading, width, subsequent_indent="  "), end="\n\n")
        for field in described.fields:
            line = f"{field.name}: {field.takes}; {field.default}"
            print(fill(line, width, initial_indent="  ", subsequent_indent="      "))
            print(fill(field.meaning, width, initial_indent="      ", subsequent_indent="      "), end="\n\n")
