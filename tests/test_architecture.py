"""Who may know whom: imports go downwards only (docs/design.md)."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sgrnn"
LAYERS = [
    ["lazy", "errors", "state", "all_reduce", "span", "sequences", "readings", "muon", "orthogonalized"],
    ["contract"],
    ["synthesizers"],
    ["cores"],
    ["estimators"],
    ["stream"],
    ["models"],
    ["decoupled"],
    ["data", "tasks", "diagnostics"],
    ["exports"],
    ["config"],
    ["training"],
    ["analysis", "sweep"],
    ["session"],
    ["cli"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in LEVEL)
ONLY_IN = {
    "pydantic": "config sweep",
    "ruamel": "config sweep",
    "typer": "cli",
    "rich": "cli session training",
    "matplotlib": "analysis sweep",
    "wandb": "training",
    "mlflow": "training",
    "optuna": "sweep",
    "onnx_ir": "exports",
    "onnxruntime": "exports",
}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_first_sentences_stand_alone(path: Path) -> None:
    """Of every docstring, those beneath fields among them: none points at something that stands elsewhere."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            first = node.value.value.strip().partition("\n")[0]
            assert not re.match(r"(What|The same|As|It|See|Whether|How)\b", first), f"line {node.lineno}: {first}"


def imported(path: Path) -> list[str]:
    """Dotted names of all that a module imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def part_of(dotted: str) -> str:
    return dotted.split(".")[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imported(path):
        top = name.split(".")[0]
        if top == "sgrnn" and part_of(name) in LEVEL:
            assert (
                LEVEL[part_of(name)] < LEVEL[own]
                or part_of(name) == own
                or {own, part_of(name)} <= set(LAYERS[LEVEL[own]])
            ), f"{path.name} imports {name}, which stands above it"
        assert own in ONLY_IN.get(top, own), f"{path.name} imports {top}"


def test_every_module_has_a_layer() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - {"__init__", "__main__"} == set(LEVEL)


def test_every_folder_of_the_package_is_installed() -> None:
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))
    folders = {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py")}
    assert folders | {"sgrnn.recipes"} == set(settings["tool"]["setuptools"]["packages"])
