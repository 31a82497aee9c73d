"""One step of a model as a pure function of parameters, state and input, for a single row, and its derivatives.

Letters in shapes: B rows, N features of a row's state, M of its outputs, P numbers in the parameters theta.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vjp, vmap

from sgrnn.cores import has_beginning, initial_state
from sgrnn.state import State, detach, floating_leaves, from_matrix, leaves, map_state, rows, to_matrix


class RowStep:
    """s', o = step(theta, s, counters, x): ``model(inputs, state)`` for one step of one row.

    The function (`function`) and its derivatives (the methods, which take all rows) must be called inside
    `sgrnn.estimators.online.plain.plain_operations` where the model holds one of torch's recurrent modules.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``.
        like: a state of the model, for its structure.
        parameters: of the model, by name, those that theta consists of; all others are held constant.
    """

    def __init__(self, model: nn.Module, like: State, parameters: Mapping[str, Tensor]) -> None:
        self.model = model
        self.like = detach(rows(like, 0, 1))
        self.shapes = {name: parameter.shape for name, parameter in parameters.items()}
        self.theta = _joined([parameter.detach() for parameter in parameters.values()], to_matrix(self.like))

    def function(
        self, theta: Tensor, state: Tensor, counters: tuple[Tensor, ...], inputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step of one row.

        Args:
            theta: (P,) the parameters.
            state: (N,) the state's floating-point part.
            counters: the state's other tensors, as `counters` gives them, without the batch.
            inputs: (...) of the row at this step.

        Returns:
            the state after the step, (N,), and the floating-point part of the outputs, (M,).
        """
        outputs, after = functional_call(
            self.model, self.named(theta), (inputs[None, None], self._state(state, counters))
        )
        return to_matrix(after)[0], _joined(floating_leaves(outputs), state)

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """(P,) as tensors by the names and in the shapes of the parameters."""
        parts = theta.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)}

    def jacobians(
        self, states: Tensor, counters: tuple[Tensor, ...], inputs: Tensor, *, outputs: bool = False
    ) -> tuple[Tensor, Tensor]:
        """ds'/ds and ds'/dtheta of every row.

        Args:
            states, counters, inputs: as for `function`, with a batch of B before.
            outputs: whether the outputs count as further entries of s', behind those of the state.

        Returns:
            (B, N, N) and (B, N, P); with the outputs (B, N + M, N) and (B, N + M, P).
        """
        over_rows = vmap(jacrev(self._all if outputs else self._next, argnums=(1, 0)), in_dims=(None, 0, 0, 0))
        return over_rows(self.theta, states, counters, inputs)

    def jacobian_and_error(
        self, states: Tensor, counters: tuple[Tensor, ...], inputs: Tensor, errors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """ds'/ds of every row, and its error at the outputs carried back to the state before, (do/ds)^T d.

        Args:
            states, counters, inputs: as for `jacobians`.
            errors: (B, M) the gradient d at the outputs.

        Returns:
            (B, N, N) and (B, N).
        """

        def next_and_loss(state: Tensor, counters: tuple[Tensor, ...], inputs: Tensor, error: Tensor) -> Tensor:
            after, outputs = self.function(self.theta, state, counters, inputs)
            return torch.cat([after, outputs.dot(error)[None]])

        found = vmap(jacrev(next_and_loss))(states, counters, inputs, errors)
        return found[:, :-1], found[:, -1]

    def products(
        self, states: Tensor, counters: tuple[Tensor, ...], inputs: Tensor, tangents: Tensor, cotangents: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(ds'/ds) u and v^T ds'/dtheta of every row, without the Jacobians.

        Args:
            states, counters, inputs: as for `jacobians`.
            tangents: (B, N) u.
            cotangents: (B, N) v.

        Returns:
            (B, N) and (B, P).
        """

        def both(
            state: Tensor, counters: tuple[Tensor, ...], inputs: Tensor, remove_radial: Tensor, cotangent: Tensor
        ) -> tuple[Tensor, Tensor]:
            pull = vjp(lambda theta, state: self._next(theta, state, counters, inputs), self.theta, state)[1]
            # (ds'/ds) u is the derivative of v^T ds'/ds, linear in v, along u: no forward mode, which not all modules
            # have, and which in torch 2.13 warns when it is first used.
            push = vjp(lambda cotangent: pull(cotangent)[1], cotangent)[1]
            return push(remove_radial)[0], pull(cotangent)[0]

        return vmap(both)(states, counters, inputs, tangents, cotangents)

    def beginning(self) -> Tensor | None:
        """(N, P) d s_0 / d theta of the state in which a row's sequence begins; None where nothing in it is learned."""
        with torch.enable_grad():  # to see whether anything in it is
            if not has_beginning(self.model) or not to_matrix(initial_state(self.model, 1)).requires_grad:
                return None
        holder = _Beginning(self.model)

        def begin(theta: Tensor) -> Tensor:
            return functional_call(holder, {f"model.{name}": part for name, part in self.named(theta).items()}, ())

        return jacrev(begin)(self.theta)

    def _next(self, theta: Tensor, state: Tensor, counters: tuple[Tensor, ...], inputs: Tensor) -> Tensor:
        return self.function(theta, state, counters, inputs)[0]

    def _all(self, theta: Tensor, state: Tensor, counters: tuple[Tensor, ...], inputs: Tensor) -> Tensor:
        return torch.cat(self.function(theta, state, counters, inputs))

    def _state(self, state: Tensor, counters: tuple[Tensor, ...]) -> State:
        """A state of one row."""
        floating = iter(from_matrix(state[None], self.like))
        others = iter(counters)

        def fill(leaf: Tensor) -> Tensor:
            return next(floating) if leaf.is_floating_point() else next(others)[None].movedim(0, -2)

        return map_state(fill, self.like)


def counters(state: State) -> tuple[Tensor, ...]:
    """The tensors of a state that carry no gradients, the batch first, (B, ...)."""
    return tuple(tensor.movedim(-2, 0) for tensor in leaves(state) if not tensor.is_floating_point())


class _Beginning(nn.Module):
    """A model's initial state as a forward pass, so that it can be called with other parameters."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self) -> Tensor:
        return to_matrix(initial_state(self.model, 1))[0]


def _joined(tensors: list[Tensor], like: Tensor) -> Tensor:
    """All elements of some tensors in one row; of none, an empty one."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors]) if tensors else like.new_zeros(0)
