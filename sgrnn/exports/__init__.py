"""Models in folders of their own, for others to run: description and parameters, ONNX, and ``torch.export``."""

from enum import StrEnum


class Format(StrEnum):
    """A form in which a model is written."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    TORCH = "torch"
