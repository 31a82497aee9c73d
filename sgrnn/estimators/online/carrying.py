"""Base of the estimators that carry tensors from span to span, row by row."""

from abc import ABC
from typing import Any

import torch
from torch import Tensor

from sgrnn.estimators.estimator import GradientEstimator
from sgrnn.estimators.handed_out import HandedOut


class CarryingEstimator(GradientEstimator, ABC):
    """Estimator with buffers that are saved with its state and sized when it first sees a model and a batch.

    A row goes on where its state is the one that was handed out after the span before, by its values; else something
    new begins there. The first state after what is carried was loaded is taken to be that one.
    """

    handed_out = HandedOut()

    def carry(self, name: str, dtype: torch.dtype | None = None) -> None:
        """Register a buffer that is carried from span to span, empty until `fit` gives it a shape."""
        self.register_buffer(name, torch.zeros(0, dtype=dtype))

    def fit(self, shapes: dict[str, tuple[int, ...]], like: Tensor, all_begin: bool) -> None:
        """Give the carried buffers these shapes, with zeros, unless they have them already.

        A row in which something is not finite begins from zero again, or it would never be rid of it.

        Args:
            shapes: shape of each buffer, by name.
            like: tensor whose precision and device they take.
            all_begin: True where all rows begin a sequence, so that nothing carried is lost.

        Raises:
            ValueError: what is carried is of another model or batch, whose sequences have not ended.
        """
        for name, shape in shapes.items():
            carried = self.get_buffer(name)
            if carried.shape == shape:
                if carried.is_floating_point() and not bool(carried.sum().isfinite()):
                    finite = carried.isfinite().flatten(1).all(dim=1)
                    setattr(self, name, carried.where(finite.view(-1, *[1] * (carried.dim() - 1)), 0))
                continue
            if not all_begin and carried.any():
                raise ValueError(
                    f"{name} must be of the same model and rows as in the span before unless all rows begin a "
                    f"sequence: carried {tuple(carried.shape)}, got {shape}"
                )
            dtype = like.dtype if carried.is_floating_point() else carried.dtype
            setattr(self, name, torch.zeros(shape, dtype=dtype, device=like.device))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Take carried buffers in the shape and precision in which they were saved."""
        for name, carried in self.named_buffers(recurse=False):
            saved = state_dict.get(prefix + name)
            if saved is not None and saved.shape != carried.shape:
                setattr(self, name, torch.empty_like(saved, device=carried.device))
        self.handed_out = HandedOut()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
