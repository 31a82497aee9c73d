"""Models as graphs of tensors: inputs and every tensor of the state in, predictions and the state after them out."""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.modules import evaluating
from sgrnn.cores import HierarchicalCore
from sgrnn.errors import InputError
from sgrnn.exports.description import rebuilt, state_names
from sgrnn.exports.layers import Cell, Operator, Scan, replace_layers
from sgrnn.models.language_model import LanguageModel
from sgrnn.state import State, leaves, refilled

_STEPS, _ROWS = 3, 2  # of the example that is traced; the graphs hold for any
_CHECKED = 32  # steps that are run beside the model that is exported


@final
class Graph(nn.Module):
    """Model in evaluation mode as a function of tensors alone, in float32 on the CPU.

    ``graph(inputs, *state)`` gives the predictions, then the tensors of the state after them. Inputs are tokens (time,
    batch), predictions logits (time, batch, vocabulary_size); of a task the vectors of each.

    Attributes:
        input_names: ``tokens`` or ``inputs``, then the names of the state's tensors.
        output_names: ``logits`` or ``answers``, then the same names after ``next_``.

    Args:
        model: a `LanguageModel` or `Readout`, of which a copy is made.

    Raises:
        InputError: it is more than these, so that a copy would be something else.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = rebuilt(model).eval().requires_grad_(False)
        self.like = self.model.initial_state(1)
        text, state = isinstance(self.model, LanguageModel), state_names(self.model.core)
        self.input_names = ["tokens" if text else "inputs", *state]
        self.output_names = ["logits" if text else "answers", *(f"next_{name}" for name in state)]
        self._require_same(model)

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Read inputs (time, batch, ...) from a state, and return predictions and the state after them."""
        return _run(self.model, inputs, refilled(self.like, state))

    @torch.no_grad()
    def _require_same(self, model: nn.Module) -> None:
        """Refuse a model that computes something else than one of its description and parameters."""
        inputs, state = self.draw(_CHECKED, _ROWS), self.initial_state(_ROWS)
        plain = all(tensor.is_cpu and tensor.dtype == torch.float32 for tensor in model.parameters())
        own = model if plain else copy.deepcopy(model).to("cpu", torch.float32)
        with evaluating(own), kept_buffers(own):
            answers = _run(own, inputs, refilled(self.like, state))
        for name, wanted, found in zip(self.output_names, answers, self(inputs, *state), strict=True):
            if not torch.allclose(wanted, found, rtol=1e-4, atol=1e-4):
                raise InputError(
                    "a model with parts of somebody else's class or settings cannot be exported, got "
                    f"{name} other than those of its sizes and parameters: use torch.onnx or torch.export on it"
                )

    @property
    def has_operators(self) -> bool:
        """True where ONNX has an operator for all steps of a layer: in a core without levels."""
        return not any(isinstance(part, HierarchicalCore) for part in self.model.core.modules())

    def draw(self, steps: int, rows: int) -> Tensor:
        """Draw inputs that a model of these sizes can read, from torch's generator."""
        if isinstance(self.model, LanguageModel):
            return torch.randint(self.model.embedding.num_embeddings, (steps, rows))
        return torch.rand(steps, rows, self.model.input_size)

    def initial_state(self, rows: int) -> list[Tensor]:
        """Return the tensors of the state in which sequences begin."""
        return leaves(self.model.initial_state(rows))


def _run(model: Any, inputs: Tensor, state: State) -> tuple[Tensor, ...]:
    """Return the predictions of a model, and the tensors of the state after them."""
    outputs, after = model(inputs, state)
    return model.logits(outputs) if isinstance(model, LanguageModel) else model.predict(outputs), *leaves(after)


def program_of(graph: Graph, *, operators: bool) -> ExportedProgram:
    """Return the program of a graph for any number of steps and rows.

    Args:
        graph: the graph.
        operators: layers as operators of ONNX, for a program that goes nowhere else; else steps are taken in a loop.
    """
    traced = copy.deepcopy(graph)
    replace_layers(traced, Operator if operators else Cell)
    if not operators:
        traced.model.core = Scan(traced.model.core)
    example = (graph.draw(_STEPS, _ROWS), *graph.initial_state(_ROWS))
    with torch.no_grad(), quiet():
        program = torch.export.export(
            traced, example, dynamic_shapes=axes(graph, {"time": Dim.DYNAMIC, "batch": Dim.DYNAMIC})
        )
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # the paths of this machine, which are nobody else's business
    return program


def axes(graph: Graph, names: Mapping[str, object]) -> dict[str, object]:
    """Return the axes of a graph's inputs that may have any length, as torch's exporters take them.

    Args:
        graph: the graph.
        names: for ``time`` and ``batch`` what to call each.
    """
    batch = names["batch"]
    state = tuple({tensor.dim() - 2: batch} for tensor in graph.initial_state(1))
    return {"inputs": {0: names["time"], 1: batch}, "state": state}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what torch's exporters say of themselves from the user, inside this context."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
