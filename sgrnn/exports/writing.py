"""Writing of the folder that a model is exported to.

FOLDER/
    config.json         the architecture, the state's tensors, the tokenizer's special tokens, and figures
    tokenizer/          of a text: the tokenizer, as a run has it
    model.safetensors   the parameters (safetensors)
    model.onnx          inputs and state in, predictions and state out (onnx)
    model.pt2           a program for torch.export.load (torch)
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_model
from torch import nn

from sgrnn import __version__
from sgrnn.data import Tokenizer
from sgrnn.data.atomic import new_folder
from sgrnn.errors import InputError
from sgrnn.exports import Format
from sgrnn.exports.description import describe, state_names
from sgrnn.exports.files import require_onnx, write_onnx, write_torch
from sgrnn.exports.graphs import Graph, program_of
from sgrnn.exports.reading import CONFIG, FORMAT, PARAMETERS
from sgrnn.models.sequence_model import SequenceModel


def write(
    model: nn.Module,
    folder: Path,
    formats: Sequence[str] = ("safetensors",),
    *,
    tokenizer: Tokenizer | None = None,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Write a model to a new folder, in float32, each graph compared with the model before the folder takes its name.

    Args:
        model: a `LanguageModel` or a `Readout` with a core of this package.
        folder: to be made; nothing but an empty folder may be there.
        formats: those of `Format`, one or more.
        tokenizer: of a language model.
        notes: what else goes into config.json, such as the figures of an evaluation; names, numbers and nests of them.

    Returns:
        For each file with a graph the largest difference from the model, as `largest_difference` gives it.

    Raises:
        InputError: an unknown format, packages that are missing, a folder that exists or cannot be written, a tokenizer
            of another size, or a model that cannot be exported. Nothing is left behind.
    """
    if not formats:
        raise InputError(f"formats must name one or more of {', '.join(Format)}, got none")
    for name in formats:
        if name not in list(Format):
            raise InputError(f"there is no format named {name!r}; expected {', '.join(Format)}")
    if Format.ONNX in formats:
        require_onnx()
    with torch.random.fork_rng(devices=[]), new_folder(folder) as aside:
        torch.default_generator.manual_seed(0)
        graph = Graph(model)
        config = {"format": FORMAT, "sgrnn": __version__, **describe(graph.model), "state": _state(graph)}
        if tokenizer is not None:
            _require_tokens(tokenizer, config.get("vocabulary_size", 0))
            tokenizer.save(aside / "tokenizer")
            config["tokenizer"] = {"kind": tokenizer.kind, "eos_id": tokenizer.eos_id}
        (aside / CONFIG).write_text(json.dumps({**config, **(notes or {})}, indent=1) + "\n", "utf-8")
        if Format.SAFETENSORS in formats:
            _write_parameters(graph.model, aside / PARAMETERS)
            shutil.copymode(aside / CONFIG, aside / PARAMETERS)  # safetensors lets nobody else read it
        return _write_graphs(graph, aside, formats)


def _write_graphs(graph: Graph, folder: Path, formats: Sequence[str]) -> dict[str, float]:
    differences: dict[str, float] = {}
    program = None
    if Format.TORCH in formats:
        program = program_of(graph, operators=False)
        differences["model.pt2"] = write_torch(graph, program, folder / "model.pt2")
    if Format.ONNX in formats:
        if graph.has_operators or program is None:
            program = program_of(graph, operators=graph.has_operators)
        differences["model.onnx"] = write_onnx(graph, program, folder / "model.onnx")
    return differences


def _require_tokens(tokenizer: Tokenizer, vocabulary_size: int) -> None:
    if tokenizer.vocabulary_size != vocabulary_size:
        raise InputError(
            f"tokenizer must be the model's, of {vocabulary_size:,} tokens, got {tokenizer.vocabulary_size:,}"
        )


def _write_parameters(model: SequenceModel, path: Path) -> None:
    try:
        save_model(model, str(path))
    except SafetensorError as error:
        raise OSError(str(error)) from None


def _state(graph: Graph) -> list[dict[str, Any]]:
    """List the tensors of a state for config.json: names, shapes with the batch by its name, and types."""
    names, tensors = state_names(graph.model.core), graph.initial_state(1)
    return [
        {
            "name": name,
            "shape": ["batch" if axis == tensor.dim() - 2 else size for axis, size in enumerate(tensor.shape)],
            "dtype": str(tensor.dtype).removeprefix("torch."),
        }
        for name, tensor in zip(names, tensors, strict=True)
    ]
