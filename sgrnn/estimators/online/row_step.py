"""One step of a model as a pure function of parameters, state and input, for a single row, and its derivatives.

Letters in shapes: B rows, N features of a row's state, M of its outputs, P numbers in the parameters theta.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vjp, vmap

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.caller import arranged_like
from sgrnn.contract.modules import called
from sgrnn.cores import has_initial_state, initial_state
from sgrnn.estimators.online.plain_operations import plain_operations
from sgrnn.estimators.online.transformable import transformable
from sgrnn.state import State, detach, floating_leaves, from_matrix, leaves, map_state, rows, to_matrix


class RowStep:
    """Function s', o = step(theta, s, counters, x): ``model(inputs, state)`` for one step of one row.

    `function` is for a single row; the methods that give its derivatives take all rows at once.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``.
        like: a state of the model, for its structure.
        parameters: parameters of the model, by name, that theta consists of; all others are held constant.
    """

    def __init__(self, model: nn.Module, like: State, parameters: Mapping[str, Tensor]) -> None:
        self.model = model
        self.like = detach(rows(like, 0, 1))
        self.shapes = {name: parameter.shape for name, parameter in parameters.items()}
        self.theta = _flat([parameter.detach() for parameter in parameters.values()], to_matrix(self.like))
        names = {id(parameter): name for name, parameter in parameters.items()}
        self._places = {
            f"{place}.{own}".lstrip("."): names[id(parameter)]
            for place, module in model.named_modules()
            for own, parameter in module._parameters.items()
            if id(parameter) in names
        }

    def function(
        self, theta: Tensor, state: Tensor, counters: tuple[Tensor, ...], inputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take one step of one row.

        Args:
            theta: (P,) the parameters.
            state: (N,) the state's floating-point part.
            counters: the state's other tensors, as `counters` gives them, without the batch.
            inputs: (...) of the row at this step.

        Returns:
            the state after the step, (N,), and the floating-point part of the outputs, (M,).
        """
        before = self._state(state, counters)
        with plain_operations(self.model), kept_buffers(self.model):
            outputs, after = self._called(self.model, theta, inputs[None, None], before)
        return to_matrix(arranged_like(after, before))[0], _flat(floating_leaves(outputs), state)

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """Split theta (P,) into tensors by the names and in the shapes of the parameters."""
        parts = theta.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)}

    def jacobians(
        self, states: Tensor, counters: tuple[Tensor, ...], inputs: Tensor, *, outputs: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return ds'/ds and ds'/dtheta of every row.

        Args:
            states, counters, inputs: as for `function`, with a batch of B before.
            outputs: let the outputs count as further entries of s', behind those of the state.

        Returns:
            (B, N, N) and (B, N, P); with the outputs (B, N + M, N) and (B, N + M, P).
        """
        over_rows = vmap(jacrev(self._all if outputs else self._next, argnums=(1, 0)), in_dims=(None, 0, 0, 0))
        return over_rows(self.theta, states, counters, inputs)

    def jacobian_and_gradient(
        self, states: Tensor, counters: tuple[Tensor, ...], inputs: Tensor, output_gradients: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return ds'/ds of every row, and its output gradient d carried back to the state before, (do/ds)^T d.

        Args:
            states, counters, inputs: as for `jacobians`.
            output_gradients: (B, M) d.

        Returns:
            (B, N, N) and (B, N).
        """

        def next_and_loss(state: Tensor, counters: tuple[Tensor, ...], inputs: Tensor, gradient: Tensor) -> Tensor:
            after, outputs = self.function(self.theta, state, counters, inputs)
            return torch.cat([after, outputs.dot(gradient.to(outputs))[None]])

        both = vmap(jacrev(next_and_loss))(states, counters, inputs, output_gradients)
        return both[:, :-1], both[:, -1]

    def products(
        self, states: Tensor, counters: tuple[Tensor, ...], inputs: Tensor, tangents: Tensor, cotangents: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return (ds'/ds) u and v^T ds'/dtheta of every row, without the Jacobians.

        Args:
            states, counters, inputs: as for `jacobians`.
            tangents: (B, N) u.
            cotangents: (B, N) v.

        Returns:
            (B, N) and (B, P).
        """

        def both(
            state: Tensor, counters: tuple[Tensor, ...], inputs: Tensor, tangent: Tensor, cotangent: Tensor
        ) -> tuple[Tensor, Tensor]:
            pull = vjp(lambda theta, state: self._next(theta, state, counters, inputs), self.theta, state)[1]
            # (ds'/ds) u is the derivative of v^T ds'/ds, linear in v, along u: no forward mode, which not all modules
            # have, and which in torch 2.13 warns when it is first used.
            push = vjp(lambda cotangent: pull(cotangent)[1], cotangent)[1]
            return push(tangent)[0], pull(cotangent)[0]

        return vmap(both)(states, counters, inputs, tangents, cotangents)

    def initial_jacobian(self) -> Tensor | None:
        """Return (N, P) ds_0/dtheta of the state in which a sequence begins; None where nothing in it is learned."""
        with torch.enable_grad():  # to see if anything in it is
            if not has_initial_state(self.model) or not to_matrix(initial_state(self.model, 1)).requires_grad:
                return None
        holder = _InitialState(self.model)

        def begin(theta: Tensor) -> Tensor:
            return to_matrix(arranged_like(self._called(holder, theta, prefix="model."), self.like))[0]

        return jacrev(begin)(self.theta)

    def _called(self, module: nn.Module, theta: Tensor, *arguments: Any, prefix: str = "") -> Any:
        """Call the model, or a module that holds it under a prefix, with other parameters.

        Each goes to all its places, which are told one by one: torch would find them by names, of which a module that
        stands in two places has two, and would leave what it put there in the place of the parameter.
        """
        named = self.named(theta)
        values = {prefix + place: named[name] for place, name in self._places.items()}
        with transformable():
            return called(functional_call, module, values, arguments, tie_weights=False)

    def _next(self, theta: Tensor, state: Tensor, counters: tuple[Tensor, ...], inputs: Tensor) -> Tensor:
        return self.function(theta, state, counters, inputs)[0]

    def _all(self, theta: Tensor, state: Tensor, counters: tuple[Tensor, ...], inputs: Tensor) -> Tensor:
        return torch.cat(self.function(theta, state, counters, inputs))

    def _state(self, state: Tensor, counters: tuple[Tensor, ...]) -> State:
        """Return a state of one row in the structure of the model's."""
        floating = iter(from_matrix(state[None], self.like))
        others = iter(counters)

        def fill(leaf: Tensor) -> Tensor:
            if leaf.is_floating_point():
                return next(floating).to(leaf)
            return next(others)[None].movedim(0, -2).clone()  # a model may count in place

        return map_state(fill, self.like)


def state_step(model: nn.Module, inputs: Tensor, state: State) -> RowStep:
    """Return the model's step as a function of those learned parameters that the state depends on.

    An output layer's parameters, which no later state depends on, are not among them.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``.
        inputs: (1, B, ...) of any step.
        state: before it.

    Raises:
        ValueError: one of these parameters is complex, or in another precision than the state.
    """
    # Plain, since a hierarchy's other forward leaves out what does not tick, and compiled one can go back but once.
    with plain_operations(model), kept_buffers(model), torch.compiler.set_stance("force_eager"):
        _, after = called(model, inputs, map_state(Tensor.clone, state))  # a model may count in place
    roots = floating_leaves(after)
    if has_initial_state(model):
        roots = roots + floating_leaves(initial_state(model, 1))
    roots = [tensor for tensor in roots if tensor.requires_grad]
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not roots or not named:
        return RowStep(model, state, {})
    zeros = [torch.zeros_like(root) for root in roots]
    reached = torch.autograd.grad(roots, list(named.values()), zeros, retain_graph=True, allow_unused=True)
    pairs = zip(named.items(), reached, strict=True)
    theta = {name: parameter for (name, parameter), gradient in pairs if gradient is not None}
    precision = to_matrix(state).dtype
    for name, parameter in theta.items():
        if parameter.dtype != precision:
            raise ValueError(f"an online estimator needs all that the state depends on in the state's precision, "
                             f"{precision}, got {parameter.dtype} for {name}")  # fmt: skip
    return RowStep(model, state, theta)


def counters(state: State) -> tuple[Tensor, ...]:
    """Return the tensors of a state that carry no gradients, the batch first, (B, ...)."""
    return tuple(tensor.movedim(-2, 0) for tensor in leaves(state) if not tensor.is_floating_point())


class _InitialState(nn.Module):
    """A model's initial state as a forward pass, so that it can be called with other parameters."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self) -> State:
        return initial_state(self.model, 1)


def _flat(tensors: list[Tensor], like: Tensor) -> Tensor:
    """Return all elements of some tensors in one row; of none, an empty one."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors]) if tensors else like.new_zeros(0)
