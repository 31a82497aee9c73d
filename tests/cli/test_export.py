"""`sgrnn export`: what a run leaves with, and the page that says how to use it."""

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import sgrnn as package
from sgrnn.data import load_tokenizer
from sgrnn.exports.description import state_names
from sgrnn.exports.reading import read
from sgrnn.training.best import best_record
from sgrnn.training.checkpoints import best_checkpoint
from sgrnn.training.run import Run

from .commands import Commands

PAGE = (Path(package.__file__).parent.parent / "docs" / "export.md").read_text("utf-8")


def test_the_best_checkpoint_is_exported_with_its_figures(sgrnn: Commands, mine: str) -> None:
    output = sgrnn.well("export", mine, "out")
    assert output == "exported mine to out: config.json, model.safetensors, tokenizer\n"
    run, config = Run.open(Path(mine)), json.loads(Path("out/config.json").read_text())
    best, record = best_checkpoint(run.checkpoints), best_record(run)
    assert best is not None
    assert record is not None
    assert config["evaluation"] == {name: record[name] for name in record if name.startswith("valid_")} | {
        "update": best.progress["update"]
    }
    torch.testing.assert_close(
        load_file("out/model.safetensors"), load_file(best.folder / "model.safetensors"), atol=0, rtol=0
    )
    assert load_tokenizer(Path("out/tokenizer")).digest == load_tokenizer(Path(mine, "tokenizer")).digest


def test_every_python_example_on_the_page_runs_and_its_text_is_the_likeliest(
    sgrnn: Commands, mine: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    formats = ("--format", "onnx", "--format", "torch", "--format", "safetensors")
    outcome = sgrnn.process("export", mine, "exported", *formats).wait()  # with all that libraries write on stderr
    assert (outcome.status, outcome.err) == (0, "")
    told = re.compile(r"^model\.(\w+): differs from the model by (\S+) at most, 256 steps", re.MULTILINE)
    differences = told.findall(outcome.out)
    assert [name for name, _ in differences] == ["pt2", "onnx"]
    assert all(float(difference) < 1e-5 for _, difference in differences)
    shutil.rmtree(mine)
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    printed = []
    for code in examples:
        exec(compile(code, "example", "exec"), {"__name__": "example"})
        printed.append(capsys.readouterr().out)
    model, tokenizer = read(Path("exported"))
    assert isinstance(model, package.LanguageModel)
    assert tokenizer is not None
    drawn = list(package.generate(model, [tokenizer.eos_id], 100, temperature=0))
    assert printed[0] == tokenizer.decode(np.array(drawn, np.int32)) + "\n"
    assert len(examples) == 3


@pytest.mark.parametrize("reset", ["line", "document"])
def test_an_exported_graph_that_begins_anew_where_the_page_says_scores_as_the_run_does(
    sgrnn: Commands, folder: Path, reset: str
) -> None:
    for split in ("train", "valid", "test"):
        path = folder / "texts" / f"{split}.txt"
        path.write_text("\n".join(path.read_text().splitlines(keepends=True)))  # an empty line after each
    sgrnn.well("train", "tiny.yaml", "--run", "mine", f"--data.reset={reset}", "--training.max_updates=5")
    sgrnn.well("export", "mine", "out", "--format", "torch", "--format", "safetensors")
    config = json.loads(Path("out/config.json").read_text())
    assert (config["reset"], config["separator"]) == (reset, None)
    eos = config["tokenizer"]["eos_id"]
    assert config["reset_at"] == (eos if reset == "line" else None)
    program = torch.export.load("out/model.pt2").module()
    zeros = [torch.zeros([1 if size == "batch" else size for size in each["shape"]]) for each in config["state"]]
    _, tokenizer = package.load("mine")
    tokens = [eos, *tokenizer.encode(Path("texts/test.txt").read_text()).tolist()]
    state, nats = zeros, 0.0
    for place, (now, follows) in enumerate(pairwise(tokens)):
        ends_separator = reset == "document" and tokens[max(place - 1, 0) : place + 1] == [eos, eos]
        if now == config["reset_at"] or ends_separator:
            state = zeros
        logits, *state = program(torch.tensor([[now]]), *state)
        nats -= logits[0, 0].log_softmax(-1)[follows].item()
    printed = sgrnn.well("evaluate", "mine", "--split", "test")
    (loss,) = re.findall(r"^([\d.]+) nats per token, ", printed, re.MULTILINE)
    assert float(loss) == pytest.approx(nats / (len(tokens) - 1), abs=1e-4)


def test_the_page_names_the_tensors_of_the_state_of_every_core() -> None:
    below = package.LSTM(3, 5)
    for core in (
        below,
        package.GRU(3, 5),
        package.RNN(3, 5),
        package.SequentialCore([below, package.LSTM(5, 3)]),
        package.HierarchicalCore([package.LSTM(3 + 8, 5), package.GRU(5, 8)], periods=[1, 4]),
    ):
        for name in state_names(core):
            assert f"`{name}`" in PAGE, name


def test_a_task_is_exported_without_its_files(sgrnn: Commands, stand_ins: Path) -> None:
    recipe = (
        "task: {kind: mnist, by: row}\nmodel: {core: rnn, hidden_size: 6}\ngradient: {kind: truncated, window: 7}\n"
    )
    Path("digits.yaml").write_text(recipe + "training: {epochs: 1, max_updates: 1, batch_size: 2, device: cpu}\n")
    sgrnn.well("train", "digits.yaml", "--run", "digits", "--data", stand_ins)
    sgrnn.well("export", "digits", "out")
    config = json.loads(Path("out/config.json").read_text())
    assert config["task"] == {"kind": "mnist", "by": "row"}
    assert "valid_accuracy" in config["evaluation"]
    model, tokenizer = read(Path("out"))
    assert tokenizer is None
    assert model(torch.zeros(28, 1, 28), model.initial_state(1))[0].shape == (28, 1, 6)


def test_a_run_in_python_is_exported_as_by_the_command(sgrnn: Commands, mine: str) -> None:
    sgrnn.well("export", mine, "one")
    package.export(mine, "two")
    model, tokenizer = package.load(mine)
    package.export(model, "three", tokenizer=tokenizer)
    for name in ("config.json", "model.safetensors", "tokenizer/tokenizer.json"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
        if name != "config.json":
            assert Path("one", name).read_bytes() == Path("three", name).read_bytes()
    again, spelled = package.load("three")
    assert package.score(again, spelled, Path("texts/valid.txt")) == package.score(
        model, tokenizer, Path("texts/valid.txt")
    )
    with pytest.raises(package.InputError, match="tokenizer must be None for a run, which has its own"):
        package.export(mine, "four", tokenizer=tokenizer)


def test_a_folder_at_home_is_said_to_be_where_it_is(
    sgrnn: Commands, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "house"))
    assert sgrnn.well("export", tiny, "~/out").startswith(f"exported tiny to {tmp_path}/house/out: config.json, ")


def test_refusals_name_cause_and_remedy(sgrnn: Commands, tiny: str) -> None:
    Path("out").mkdir()
    Path("out/precious").touch()
    assert sgrnn.refused("export", tiny, "out") == "out already exists: name another folder, or remove it"
    assert [path.name for path in Path("out").iterdir()] == ["precious"]
    assert sgrnn.refused("export", "nowhere", "new").startswith("nowhere holds no run: ")
    outcome = sgrnn("export", tiny, "new", "--format", "tflite")
    assert outcome.status == 2
    assert "'tflite' is not one of 'safetensors', 'onnx', 'torch'" in outcome.err
    shutil.rmtree(f"{tiny}/checkpoints")
    assert sgrnn.refused("export", tiny, "new") == f"{tiny} has no checkpoint yet: go on with `sgrnn resume {tiny}`"
    shutil.rmtree(f"{tiny}/tokenizer")
    assert sgrnn.refused("export", tiny, "new").startswith(f"{tiny}/tokenizer/tokenizer.json does not exist")
    assert not Path("new").exists()
