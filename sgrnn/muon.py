"""An optimizer that takes the weights of recurrent layers by orthogonalized momentum, and everything else by Adam."""

from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from torch import nn
from torch.optim import Optimizer

from sgrnn.orthogonalized import OrthogonalizedMomentum


@final
class Muon(Optimizer):
    """Train the weight matrices of recurrent layers by Muon, and all other parameters by AdamW at the same rate.

    Muon (Jordan et al. 2024; `torch.optim.Muon`) takes the momentum of a matrix's gradient and makes all of its
    singular values about equal, so that a step moves the matrix alike in every direction. The root mean square of a
    step is about 0.2 of the rate, about what Adam's comes to in training: a rate that suits one suits the other. What
    it is worth is in docs/results.md ("Words, by Muon") and docs/reach.md. Where a processor multiplies in bfloat16 no
    faster than in float32, steps are taken through the smaller of the matrix's squares, in a fifth of the time.

    Matrices are the parameters of two dimensions, both above 1, that are called ``weight_ih`` or ``weight_hh`` with
    anything behind, as in ``nn.LSTM``, ``nn.GRU``, ``nn.RNN``, their cells and this package's cores. They are
    orthogonalized as a whole, all gates together.

    ``param_groups`` has both, and a learning rate that is set there counts. A schedule that moves momentum besides, as
    ``OneCycleLR`` does, moves that of the matrices. A checkpoint goes on to the bit.

    >>> core, readout = torch.nn.LSTM(3, 8), torch.nn.Linear(8, 2)
    >>> optimizer = Muon(torch.nn.ModuleList([core, readout]), lr=3e-3)
    >>> [len(group["params"]) for group in optimizer.param_groups]
    [2, 4]

    Args:
        module: whose parameters are trained; several make a ``nn.ModuleList``.
        lr: learning rate.
        momentum: share of the running mean of a matrix's gradient that each update keeps.
        betas: decay of AdamW's running means.
        weight_decay: decoupled, of all parameters.

    Raises:
        ValueError: a setting is out of range, or no matrix of a recurrent layer learns.
    """

    def __init__(
        self,
        module: nn.Module,
        lr: float = 3e-3,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        for name, share in (("momentum", momentum), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
            if not 0 <= share < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {share}")
        if not isinstance(module, nn.Module):
            kind = type(module).__name__
            raise TypeError(f"module must be a torch.nn.Module, whose names tell parameters apart, got a {kind}")
        matrices, others = [], []
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                (matrices if _is_recurrent(name, parameter) else others).append(parameter)
        if not matrices:
            raise ValueError(
                "module must have matrices called weight_ih... or weight_hh... that learn, as torch's recurrent layers "
                "have, got none: train it by another optimizer"
            )
        self._parts: dict[str, Optimizer] = {
            "muon": OrthogonalizedMomentum(
                matrices, lr, weight_decay, momentum=momentum, adjust_lr_fn="match_rms_adamw"
            )
        }  # fmt: skip
        if others:
            self._parts["adamw"] = torch.optim.AdamW(others, lr, betas, weight_decay=weight_decay, fused=True)
        super().__init__(self._groups(), {})
        self.defaults = {"momentum": momentum}  # by which torch's schedules know what they may move

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self._parts.values() for group in part.param_groups]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuse to take in parameters of which it could not tell what they are.

        Raises:
            ValueError: the group is not one of those that the optimizer was made with.
        """
        if all(param_group is not group for group in self._groups()):
            raise ValueError("parameters cannot be added to Muon, which tells them by name: make one of the new module")
        super().add_param_group(param_group)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_parts": self._parts}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore
        """Make an update of all parameters that have a gradient.

        Args:
            closure: computes the loss and the gradients anew, if given.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts.values():
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both parts."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore both parts, or where a state does not fit neither.

        Raises:
            ValueError: the state is of another optimizer or of other parameters.
        """
        if state_dict.keys() != self._parts.keys():
            raise ValueError(f"the state must be of {' and '.join(self._parts)}, got {', '.join(state_dict) or 'none'}")
        before = self.state_dict()
        try:
            for name, part in self._parts.items():
                part.load_state_dict(state_dict[name])
                _require_shapes(name, part)
        except Exception:
            for name, part in self._parts.items():
                part.load_state_dict(before[name])
            raise
        finally:
            self.param_groups = self._groups()


def _require_shapes(name: str, part: Optimizer) -> None:
    """Refuse a state whose tensors are not of their parameters' shapes, which torch takes and cannot make a step of."""
    for number, parameter in enumerate(each for group in part.param_groups for each in group["params"]):
        for kind, value in part.state.get(parameter, {}).items():
            if kind != "step" and value.shape != parameter.shape:
                raise ValueError(
                    f"the state must fit parameter {number} of {name}, {tuple(parameter.shape)}, got {kind} "
                    f"{tuple(value.shape)}"
                )


def _is_recurrent(name: str, parameter: nn.Parameter) -> bool:
    named = any(part.startswith(("weight_ih", "weight_hh")) for part in name.split("."))  # parametrized ones too
    return named and parameter.ndim == 2 and min(parameter.shape) > 1
