"""Graphs as files: written, opened again by whoever runs them, and compared with the model."""

from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from sgrnn.errors import InputError
from sgrnn.exports.agreement import largest_difference
from sgrnn.exports.graphs import Graph, axes, quiet


def require_onnx() -> None:
    """Refuse to write ONNX where the packages for it are missing.

    Raises:
        InputError: they are; the text says how to get them.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the format onnx needs the packages onnx, onnxscript and onnxruntime, and {', '.join(missing)} cannot be "
            "found: pip install 'sgrnn[export]'"
        )


def write_onnx(graph: Graph, program: ExportedProgram, path: Path) -> float:
    """Write a program as a model of ONNX, and return the largest difference from the graph in onnxruntime.

    Raises:
        InputError: they do not agree.
        OSError: the file cannot be written.
    """
    with quiet():
        import onnx_ir.passes.common as passes
        import onnxruntime

        exported = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=graph.input_names,
            output_names=graph.output_names,
            dynamic_shapes=axes(graph, {"time": "time", "batch": "batch"}),
        )
        assert exported is not None, "with dynamo=True"
        for tidy in (passes.RemoveUnusedNodesPass(), passes.ClearMetadataAndDocStringPass()):
            tidy(exported.model)
        exported.save(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(inputs: list[Tensor]) -> list[Tensor]:
        fed = {name: tensor.numpy() for name, tensor in zip(graph.input_names, inputs, strict=True)}
        return [torch.from_numpy(array) for array in session.run(graph.output_names, fed)]

    return largest_difference(graph, run, path.name)


def write_torch(graph: Graph, program: ExportedProgram, path: Path) -> float:
    """Write a program for ``torch.export.load``, and return the largest difference from the graph when loaded.

    Raises:
        InputError: they do not agree.
        OSError: the file cannot be written.
    """
    with quiet():
        serialized = BytesIO()  # written by Python, which says why it cannot where torch does not
        torch.export.save(program, serialized)
        path.write_bytes(serialized.getbuffer())
        module = torch.export.load(path).module()
    return largest_difference(graph, lambda inputs: module(*inputs), path.name)
