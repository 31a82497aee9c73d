"""Pages of the site that `mkdocs build` makes: of the package, and of files of the repository that lie beside docs/.

The recipe fields, the shipped recipes, the public names, the changelog, how to contribute, and every source file that a
page links to. Links to such files are written as they are on disk, so that they work on a page of the repository too.
"""

import re
from importlib import import_module
from pathlib import Path
from posixpath import dirname, normpath, relpath

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
    "api/diagnostics.md": "sgrnn.diagnostics",
}
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
            place = normpath(f"{dirname(page)}/{target}")
            if place.startswith("../") and place not in BESIDE:
                made[_source(place)] = _shown(place)
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files beside docs/ into links to the pages made of them, and fill in the shipped recipes."""
    folder = dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        place = normpath(f"{folder}/{link[1]}")
        if not place.startswith("../"):
            return link[1]
        return relpath(BESIDE.get(place) or _source(place), folder or ".")

    return _LINK.sub(moved, markdown).replace("<!-- shipped recipes -->", _recipes())


def _source(place: str) -> str:
    return f"source/{place.removeprefix('../')}.md"


def _shown(place: str) -> str:
    """Return a page with the text of a file."""
    name, text = place.removeprefix("../"), (ROOT / "docs" / place).read_text("utf-8")
    return f"---\nsearch: {{exclude: true}}\n---\n\n# {name}\n\n````python\n{text}````\n"


def _names(module: str) -> str:
    """Return the page of a module's public names."""
    names = getattr(import_module(module), "__all__", None)
    if names is None:
        return f"# {module}\n\n::: {module}\n    options: {{show_root_heading: false, show_root_toc_entry: false}}\n"
    title = f"# {module}\n\n::: {module}\n    options: {{show_root_heading: false, members: false}}\n\n"
    return title + "".join(f"::: {module}.{name}\n\n" for name in names)


def _recipes() -> str:
    return "".join(f"`{name}`\n:   {text.splitlines()[0].lstrip('# ')}\n\n" for name, text in shipped_recipes().items())


def _fields() -> str:
    """Return the page of all recipe fields."""
    parts = ["# Recipe fields\n\nThe same in a terminal: `sgrnn recipes fields gradient.synthetic`.\n"]
    for section in reference():
        *_, address = section.addresses
        parts.append(f"## {address or 'A recipe'}\n\n{section.meaning}\n")
        for field in section.fields:
            parts.append(f"`{field.name}` · {field.takes} · {field.default}\n:   {field.meaning}\n")
    return "\n".join(parts)
