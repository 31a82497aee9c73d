"""A folder that a model was exported to: read back without a recipe, refused where it is not whole."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sgrnn
from sgrnn.data import train_tokenizer
from sgrnn.errors import InputError
from sgrnn.exports.description import build, describe
from sgrnn.exports.reading import read
from sgrnn.models.readout import Readout
from sgrnn.tasks import Copy
from sgrnn.tasks.scores import squared_error

TEXT = "the cat saw the dog\nthe dog saw a bird\n" * 20


def words(core: nn.Module | None = None, vocabulary_size: int = 8) -> sgrnn.LanguageModel:
    return sgrnn.LanguageModel(vocabulary_size, 6, core or sgrnn.LSTM(6, 5), 5)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("kind", "size"), [("word", None), ("character", None), ("bpe", 280)])
def test_a_folder_gives_back_model_and_tokenizer(tmp_path: Path, kind: str, size: int | None) -> None:
    tokenizer = train_tokenizer(kind, TEXT, vocabulary_size=size)
    model = sgrnn.LanguageModel(
        tokenizer.vocabulary_size, 5, sgrnn.GRU(5, 5, 2, dropout=0.1), 5, tied=True, dropout=0.2
    )
    model.reset_at = tokenizer.eos_id
    assert sgrnn.export(model, tmp_path / "new", tokenizer=tokenizer) == {}
    again, spoken = read(tmp_path / "new")
    assert describe(again) == describe(model)
    assert isinstance(again, sgrnn.LanguageModel)
    assert again.output.weight is again.embedding.weight
    assert again.reset_at == tokenizer.eos_id
    assert spoken is not None
    assert spoken.digest == tokenizer.digest
    torch.testing.assert_close(again.state_dict(), model.state_dict(), atol=0, rtol=0)
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["tokenizer"] == {"kind": kind, "eos_id": tokenizer.eos_id}
    assert config["sgrnn"] == sgrnn.__version__


def test_a_model_of_a_task_comes_back_with_its_loss(tmp_path: Path) -> None:
    task = Copy(batch_size=2, bits=2)
    levels = [sgrnn.RNN(task.input_size + 4, 5), sgrnn.RNN(5, 4)]
    model = Readout(sgrnn.HierarchicalCore(levels, [1, 3]), 5, task.output_size, task.loss)
    sgrnn.export(model, tmp_path / "new")
    again, tokenizer = read(tmp_path / "new")
    assert tokenizer is None
    episode = task.draw()
    losses = [each.loss(each(episode.inputs, each.initial_state(2))[0], episode.targets) for each in (model, again)]
    torch.testing.assert_close(losses[1], losses[0], atol=0, rtol=0)


def test_a_loss_of_its_own_stays_behind_and_its_absence_is_said(tmp_path: Path) -> None:
    model = Readout(sgrnn.RNN(3, 4), 4, 2, lambda outputs, targets: squared_error(outputs, targets))
    sgrnn.export(model, tmp_path / "new")
    again, _ = read(tmp_path / "new")
    outputs, _ = again(torch.zeros(1, 1, 3), again.initial_state(1))
    with pytest.raises(InputError, match="exported with a loss of its owner's"):
        again.loss(outputs, torch.zeros(1, 1, 3))


def test_any_precision_is_exported_as_float32(tmp_path: Path) -> None:
    model = words().double()
    sgrnn.export(model, tmp_path / "new")
    again, _ = read(tmp_path / "new")
    torch.testing.assert_close(again.state_dict(), model.float().state_dict(), atol=0, rtol=0)


def test_what_is_there_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    sgrnn.export(words(), folder)
    before = files_of(tmp_path)
    with pytest.raises(InputError, match="taken already exists: name another folder, or remove it"):
        sgrnn.export(words(), folder)
    with pytest.raises(InputError, match=r"config\.json already exists"):
        sgrnn.export(words(), folder / "config.json")
    assert files_of(tmp_path) == before


def test_an_empty_folder_and_those_above_a_new_one_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    sgrnn.export(words(), tmp_path / "empty")
    sgrnn.export(words(), tmp_path / "a" / "b")
    assert (
        set(files_of(tmp_path / "empty")) == set(files_of(tmp_path / "a" / "b")) == {"config.json", "model.safetensors"}
    )
    mode = (tmp_path / "empty" / "config.json").stat().st_mode
    assert (tmp_path / "empty" / "model.safetensors").stat().st_mode == mode


def test_an_empty_folder_stays_the_one_that_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("current", "linked"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("linked")
    sgrnn.export(words(), tmp_path / "link")
    monkeypatch.chdir(tmp_path / "current")
    sgrnn.export(words(), Path())
    assert (tmp_path / "link").is_symlink()
    assert set(os.listdir()) == set(os.listdir(tmp_path / "linked")) == {"config.json", "model.safetensors"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*file/new: Not a directory; .*, or name another folder"):
        sgrnn.export(words(), tmp_path / "file" / "new")


@pytest.mark.parametrize("format", ["safetensors", "onnx"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, format: str) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    model = sgrnn.LanguageModel(8, 6, sgrnn.RNN(6, 64), 64)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*new: .*; free disk space, or name another folder"):
            sgrnn.export(model, tmp_path / "new", format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not os.listdir(tmp_path)


def test_packages_that_are_missing_are_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"onnxruntime cannot be found: pip install 'sgrnn\[export\]'"):
        sgrnn.export(words(), tmp_path / "new", "onnx")
    assert not os.listdir(tmp_path)


class Mine(sgrnn.LanguageModel):
    pass


def deep_readout() -> nn.Module:
    model = Readout(sgrnn.RNN(3, 4), 4, 2, squared_error)
    model.output = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))  # pyright: ignore[reportAttributeAccessIssue]
    return model


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            lambda: Mine(8, 6, sgrnn.LSTM(6, 5), 5),
            {},
            "must be a LanguageModel or a Readout to be exported, got a Mine",
        ),
        (lambda: nn.Linear(1, 1), {}, "must be a LanguageModel or a Readout to be exported, got a Linear"),
        (lambda: words(nn.LSTM(6, 5)), {}, r"core must be sgrnn's LSTM, .* to be exported, got the LSTM of torch"),
        (deep_readout, {}, "^a model with an output of its own cannot be exported, got a Sequential$"),
        (words, {"formats": "tflite"}, "no format named 'tflite'; expected safetensors, onnx, torch"),
        (words, {"formats": []}, "formats must name one or more of safetensors, onnx, torch, got none"),
        (
            words,
            {"tokenizer": train_tokenizer("character", TEXT)},
            "tokenizer must be the model's, of 8 tokens, got 15",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused(
    tmp_path: Path, model: Callable[[], nn.Module], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sgrnn.export(model(), tmp_path / "new", **options)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"format": "sgrnn model 0"},
            r"expected the format 'sgrnn model 1', got 'sgrnn model 0'; export",
        ),
        (
            {"core": {"kind": "xlstm"}},
            r"config\.json is damaged: .*core\.kind must be one of lstm",
        ),
        ({"model": "diffusion"}, r"config\.json is damaged: .*model must be language or readout, got 'diffusion'"),
        ({"tied": None, "vocabulary_size": 9}, r"model\.safetensors does not fit .*config\.json"),
        ({"vocabulary_size": "nine"}, r"config\.json is damaged: "),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = tmp_path / "new"
    sgrnn.export(words(), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=message):
        read(folder)


def test_a_folder_without_a_model_or_parameters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no exported model: expected .*config\.json"):
        read(tmp_path)
    sgrnn.export(words(), tmp_path / "new")
    (tmp_path / "new" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors does not exist: export .* with --format safetensors"):
        read(tmp_path / "new")
    (tmp_path / "new" / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is damaged: JSONDecodeError"):
        read(tmp_path / "new")


def test_every_core_is_built_again_from_its_description() -> None:
    model = words(sgrnn.HierarchicalCore([sgrnn.RNN(6 + 2, 5), sgrnn.GRU(5, 4)], [1, 2], message_sizes=[2]))
    assert describe(build(json.loads(json.dumps(describe(model))))) == describe(model)
