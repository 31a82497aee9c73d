"""Pages of the site that `mkdocs build` makes: of the package, and of files of the repository that lie beside docs/.

The recipe fields, the shipped recipes, the public names, the changelog, how to contribute, and every source file that a
page links to. Links to such files are written as they are on disk, so that they work on a page of the repository too.
"""

import re
from importlib import import_module
from pathlib import Path
from posixpath import basename, dirname, join, normpath, relpath
from textwrap import indent
from typing import Any, final

from griffe import Extension, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from sgrnn.config.files import shipped_recipes
from sgrnn.config.reference import reference

ROOT = Path(__file__).parent.parent
BESIDE = {"../CHANGELOG.md": "changelog.md", "../CONTRIBUTING.md": "contributing.md"}
PUBLIC = {
    "api/sgrnn.md": "sgrnn",
    "api/schedules.md": "sgrnn.estimators.schedules",
    "api/data.md": "sgrnn.data",
    "api/tasks.md": "sgrnn.tasks",
    "api/decoupled.md": "sgrnn.decoupled",
    "api/diagnostics.md": "sgrnn.diagnostics",
}
_DOCTEST = re.compile(r"(?:^>>> .*\n?(?:^.+\n?)*)", re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {page: _names(module) for page, module in PUBLIC.items()} | {"recipe-fields.md": _fields()}
    for name, page in BESIDE.items():
        text = (ROOT / "docs" / name).read_text("utf-8")
        made[page] = _LINK.sub(lambda link: relpath(link[1], "docs"), text)  # as if it lay in docs/
    written = {file.src_uri: file.content_string for file in files.documentation_pages()} | made
    for page, text in written.items():
        for target in _LINK.findall(text):
            place = normpath(join(dirname(page), target))
            if place.startswith("../") and place not in BESIDE:
                made[_source(place)] = _shown(place)
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files beside docs/ into links to the pages made of them, and fill in the shipped recipes."""
    folder = dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        place = normpath(join(folder, link[1]))
        if not place.startswith("../"):
            return link[1]
        return relpath(BESIDE.get(place) or _source(place), folder or ".")

    return _LINK.sub(moved, markdown).replace("<!-- shipped recipes -->", _recipes())


@final
class Examples(Extension):
    """Reader of doctests, which docstrings here have without a heading, as examples."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Put a heading before each doctest of a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _DOCTEST.sub(
                lambda test: f"Examples:\n{indent(test[0], '    ')}", obj.docstring.value
            )


def _source(place: str) -> str:
    return f"source/{place.removeprefix('../')}.md"


def _shown(place: str) -> str:
    """Return a page with the text of a file."""
    path, text = place.removeprefix("../"), (ROOT / "docs" / place).read_text("utf-8")
    return f"---\nsearch: {{exclude: true}}\n---\n\n# {basename(path)}\n\n`{path}`\n\n````python\n{text}````\n"


def _names(module: str) -> str:
    """Return the page of a module's public names, by the rooms in which they live where that is known."""
    imported = import_module(module)
    names = getattr(imported, "__all__", None)
    members = str(names is None).lower()  # a module without a list of names is all of it public
    options = f"{{show_root_heading: false, show_root_toc_entry: false, members: {members}}}"
    text = f"# {module}\n\n::: {module}\n    options: {options}\n\n"
    for room, inside in getattr(imported, "_HOMES", {"": " ".join(names or ())}).items():
        text += f"## {module}.{room}\n\n" if room else ""
        options = f"    options: {{heading_level: {3 if room else 2}}}\n\n"
        text += "".join(f"::: {module}.{name}\n{options}" for name in inside.split())
    return text


def _recipes() -> str:
    return "".join(f"`{name}`\n:   {text.splitlines()[0].lstrip('# ')}\n\n" for name, text in shipped_recipes().items())


def _fields() -> str:
    """Return the page of all recipe fields."""
    parts = ["# Recipe fields\n\nThe same in a terminal: `sgrnn recipes fields gradient.synthetic`.\n"]
    for section in reference():
        parts.append(f"## {section.title or 'A recipe'}\n\n{section.meaning}\n")
        for field in section.fields:
            parts.append(f"`{field.name}` · {field.takes} · {field.default}\n:   {field.meaning}\n")
    return "\n".join(parts)
