"""Help, lists and typing errors: answered without loading what only training needs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import sgrnn as package

from .commands import Commands

HEAVY = {
    "torch", "numpy", "matplotlib", "optuna", "tensorboard", "pandas", "sentencepiece", "safetensors", "pooch",
    "requests",
}  # fmt: skip
PROGRAM = """
import io, json, shlex, sys
from contextlib import redirect_stderr, redirect_stdout
from sgrnn.cli import main
answers = []
for line in sys.stdin.read().splitlines():
    sys.argv = ["sgrnn", *shlex.split(line)]
    status, said = 0, io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            main()
        except SystemExit as ended:
            status = ended.code or 0
    answers.append([status, said.getvalue(), sorted({name.partition(".")[0] for name in sys.modules})])
print(json.dumps(answers))
"""
COMPLETE = "import sys; sys.argv[0] = 'sgrnn'; from sgrnn.cli import main; main()"
COMMANDS = (
    ("--help", 0, "Usage: sgrnn "),
    ("-h", 0, "Usage: sgrnn "),
    ("train -h", 0, "Usage: sgrnn train "),
    ("data fetch -h", 0, "Usage: sgrnn data fetch "),
    ("--version", 0, "sgrnn 0."),
    ("recipes list", 0, "quickstart"),
    ("data list", 0, "wikitext-2"),
    ("trian quickstart", 2, "No such command 'trian'"),
    ("resume runs/mine --dta x", 2, "--dta is no option of sgrnn resume; did you mean --data?"),
    ("train", 2, "Missing argument"),
    ("train quikstart", 2, "did you mean quickstart?"),
    ("train quickstart --gradient.windw=5", 2, "did you mean gradient.window?"),
    ("train quickstart --seed 3", 2, "did you mean --training.seed=3?"),
    ("train quickstart --rnu mine", 2, "--rnu is no option of sgrnn train; did you mean --run?"),
    ("sweep quickstart --space nowhere.yaml", 2, "cannot read the space nowhere.yaml"),
    ("recipes check quickstart --training.epochs=x", 2, "training.epochs must be a valid integer"),
    ("data fetch penn", 2, "there is no data named 'penn'"),
    *(
        (f"{command} nowhere", 2, "nowhere holds no run")
        for command in ("resume", "evaluate", "generate", "compare", "diagnose", "report")
    ),
)


def test_it_answers_without_what_only_training_needs(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], input="\n".join(command for command, *_ in COMMANDS),
        cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60, check=True,
    )  # fmt: skip
    answers = json.loads(ended.stdout)
    for (command, status, said), (found, output, loaded) in zip(COMMANDS, answers, strict=True):
        assert found == status, command
        assert said in output, command
        assert HEAVY.isdisjoint(loaded), command


def test_the_version_is_shown(sgrnn: Commands) -> None:
    assert sgrnn.well("--version") == f"sgrnn {package.__version__}\n"


def complete(folder: Path, words: str) -> list[str]:
    """What a shell is told when somebody asks it to complete the last of some words."""
    told = {"_SGRNN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    ended = subprocess.run(
        [sys.executable, "-c", COMPLETE],
        cwd=folder, env=os.environ | told, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return ended.stdout.split()


def test_a_shell_completes_commands_and_recipes(tmp_path: Path) -> None:
    assert complete(tmp_path, "sgrnn re") == ["resume", "report", "recipes"]
    assert complete(tmp_path, "sgrnn train quick") == ["quickstart"]
    show = f"'{sys.executable}' -m sgrnn --show-completion; true"  # the second command keeps bash there as the parent
    shown = subprocess.run(["bash", "-c", show], capture_output=True, text=True, timeout=60, check=True).stdout
    assert re.search(r"complete .*sgrnn", shown)
