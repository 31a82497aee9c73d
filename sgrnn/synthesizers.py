"""Synthesizers: predictors of the gradient that the future would send to a state.

A synthesizer is any module ``synthesizer(state, lookahead) -> (rows, heads, features)`` that predicts, for every
row of a state, the gradient of the row's summed future loss with respect to all the floating-point tensors of the
state, flattened as by `sgrnn.state.to_matrix` and divided by a scale that the policy keeps. An attribute
``lookahead_steps`` tells how many upcoming steps it wants to see, and ``sees_errors`` whether it wants the errors that
the model makes there.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn.lookahead import Lookahead, LookaheadEncoder, RecurrentLookahead
from sgrnn.state import State, floating_leaves, join, to_matrix


class MLPSynthesizer(nn.Module):
    """A multi-layer perceptron on the standardized state and what an encoder sees of the steps ahead.

    The last layer is zero in weights and biases, so that training begins as plain truncation
    (Jaderberg et al. 2016). Every state tensor is standardized over its features (a layer norm without
    parameters): the hidden and cell vectors of a young LSTM are tiny.

    Args:
        state_size: features of a row of the state, as `sgrnn.state.state_size` counts them; for an LSTM
            2 x num_layers x hidden_size.
        hidden_sizes: units of each hidden layer; none at all makes the synthesizer linear.
        lookahead: encoder of the steps ahead, or None to see the state alone.
        standardize: whether the state tensors are standardized.
        auxiliary: whether a second head predicts the gradient at the *next* boundary too (Jaderberg et al. 2016,
            the auxiliary task), which shares all layers but the last with the first.
    """

    def __init__(
        self,
        state_size: int,
        hidden_sizes: tuple[int, ...] = (256,),
        *,
        lookahead: LookaheadEncoder | RecurrentLookahead | None = None,
        standardize: bool = True,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        self.standardize = standardize
        self.lookahead = lookahead
        self.lookahead_steps = 0 if lookahead is None else lookahead.steps
        self.heads = 2 if auxiliary else 1
        sizes = [state_size + (0 if lookahead is None else lookahead.output_size), *hidden_sizes]
        self.hidden = nn.Sequential()
        for before, after in pairwise(sizes):
            self.hidden.extend([nn.Linear(before, after), nn.ReLU()])
        self.last = nn.Linear(sizes[-1], self.heads * state_size)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        """Predict from R rows.

        Args:
            state: R rows.
            lookahead: their next steps; None if `lookahead_steps` is 0.

        Returns:
            (R, heads, state_size), in units of the policy's target scale.
        """
        inputs = _standardized(state) if self.standardize else to_matrix(state)
        if self.lookahead is not None:
            assert lookahead is not None, "the policy hands over a lookahead where the synthesizer asks for one"
            inputs = torch.cat([inputs, self.lookahead(lookahead)], dim=1)
        return self.last(self.hidden(inputs)).unflatten(1, (self.heads, -1))


class ErrorSynthesizer(nn.Module):
    """Carries the errors that the model will make in the next n steps back to the state, by learned Jacobians.

    With d_j the gradient of the loss j steps ahead with respect to the model's outputs there, the future's gradient
    is a sum of J_jᵀ d_j, and the Jacobian J_j depends on the state and on the inputs up to step j alone. The
    prediction has the same form:

        M(s, lookahead) = Σ_j  a_j * d_j  +  W_j (g_j * P_j d_j)

    linear in the errors: a part from unit to unit, where the state's vectors are as wide as the outputs, and one
    across units through few dimensions. For the nearest steps the gains a_j and gates g_j are read off a small network
    of s, x_1, ..., x_j, and see no input later than the error's; for steps further ahead they are constants. So M is
    zero where no errors are made, and zero in the mean wherever the model's own predictive distribution holds; and
    where errors do not foretell each other, it is bootstrapped without a loop (docs/algorithm.md).

    Args:
        state_size: features of a row of the state, as `sgrnn.state.state_size` counts them.
        error_size: features of the model's outputs at a step.
        features: from inputs (n, R, ...) to features (n, R, feature_size); ``LanguageModel.input_features`` sees
            tokens through the model's own embedding.
        feature_size: as `features` gives.
        steps: n.
        hidden_size: units of the network that computes the gates.
        rank: dimensions that errors cross units through, at each step.
        near: steps whose Jacobians depend on the state and the inputs; those of steps further ahead are constants.
        projection: features that a step's inputs are reduced to first.
    """

    sees_errors = True

    def __init__(
        self,
        state_size: int,
        error_size: int,
        features: Callable[[Tensor], Tensor],
        feature_size: int,
        *,
        steps: int = 8,
        hidden_size: int = 128,
        rank: int = 32,
        projection: int = 32,
        near: int = 2,
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}: it sees nothing but the errors ahead")
        if near < 1:
            raise ValueError(f"near must be at least 1 step, got {near}")
        self.lookahead_steps, self.features = steps, features
        self.state_projection = nn.Linear(state_size, hidden_size)
        self.near = near = min(near, steps)
        self.input_projection = _drawn(near, feature_size, projection)
        self.input_weight = _drawn(near, projection, hidden_size)
        self.repeats = state_size // error_size if state_size % error_size == 0 else 0
        if self.repeats:
            self.gain = nn.Parameter(torch.zeros(near, hidden_size, state_size))
            self.gain_bias = nn.Parameter(torch.zeros(steps, 1, state_size))
        self.gate = _drawn(near, hidden_size, rank)
        self.gate_bias = nn.Parameter(torch.ones(near, 1, rank))
        self.error_projection = _drawn(steps, error_size, rank)
        self.last = nn.Linear(steps * rank, state_size, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, state: State, lookahead: Lookahead) -> Tensor:
        """Predict from R rows.

        Args:
            state: R rows.
            lookahead: their next steps, with errors.

        Returns:
            (R, 1, state_size), in units of the policy's target scale.
        """
        errors = lookahead.errors
        assert errors is not None, "the policy hands over errors where the synthesizer asks for them"
        if lookahead.valid is not None:
            errors = errors * lookahead.valid.unsqueeze(-1)
        crossing = torch.bmm(errors, self.error_projection)  # (n, R, rank)
        inputs = self.features(lookahead.inputs[: self.near])
        reduced = torch.bmm(inputs, self.input_projection)
        read = torch.bmm(reduced, self.input_weight).cumsum(dim=0)  # at step j of inputs 1 to j
        hidden = F.relu(read + self.state_projection(_standardized(state)))  # (near, R, hidden_size)
        gates = torch.baddbmm(self.gate_bias, hidden, self.gate)
        crossing = torch.cat([gates * crossing[: self.near], crossing[self.near :]])
        predicted = self.last(crossing.transpose(0, 1).flatten(1))
        if self.repeats:
            predicted = predicted + self._unit_to_unit(hidden, errors)
        return predicted.unsqueeze(1)

    def _unit_to_unit(self, hidden: Tensor, errors: Tensor) -> Tensor:
        """Σ_j a_j * d_j, (R, state_size), the errors repeated for each of the state's vectors."""
        gains = torch.baddbmm(self.gain_bias[: self.near], hidden, self.gain)  # (near, R, state_size)
        near = _repeated_product(gains, errors[: self.near])
        return (near + _repeated_product(self.gain_bias[self.near :], errors[self.near :])).flatten(1)


def _repeated_product(gains: Tensor, errors: Tensor) -> Tensor:
    """Σ_j a_j * d_j for gains (steps, R or 1, repeats x error_size): (R, repeats, error_size)."""
    return (gains.unflatten(2, (-1, errors.shape[2])) * errors.unsqueeze(2)).sum(dim=0)


def _standardized(state: State) -> Tensor:
    """(R, features): every tensor of a state to mean 0 and variance 1 over its features, layer by layer."""
    tensors = [tensor.movedim(-2, 0) for tensor in floating_leaves(state)]
    return join([F.layer_norm(tensor, tensor.shape[-1:]) for tensor in tensors])


def _drawn(steps: int, size: int, out_size: int) -> nn.Parameter:
    """(steps, size, out_size) weights, uniform as ``nn.Linear`` draws its own, for each step its own."""
    return nn.Parameter(torch.empty(steps, size, out_size).uniform_(-(size**-0.5), size**-0.5))


class Follower(nn.Module):
    """A copy of a synthesizer that stays behind it, to bootstrap from targets that do not chase themselves.

    Args:
        synthesizer: the one that learns. Its parameters stay its own; this module holds copies as buffers.
        rate: share of the way that the copy goes towards the synthesizer at each refresh; 1 copies it.
        every: updates between two refreshes; with rate 1 the copy is frozen in between
            (Marschall, Cho & Savin 2020 copy every 5 updates).
    """

    updates: Tensor

    def __init__(self, synthesizer: nn.Module, rate: float, every: int) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise ValueError(f"rate must be in (0, 1], got {rate}")
        if every < 1:
            raise ValueError(f"every must be at least 1 update, got {every}")
        self.rate, self.every = rate, every
        self._leader = [synthesizer]  # in a list, so that its parameters are not registered twice
        self._names = [name for name, _ in synthesizer.named_parameters()]
        for index, parameter in enumerate(synthesizer.parameters()):
            self.register_buffer(f"copy_{index}", parameter.detach().clone())
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        """What the copy predicts, as the synthesizer's own forward."""
        copies = dict(zip(self._names, self.copies, strict=True))
        return torch.func.functional_call(self._leader[0], copies, (state, lookahead))

    @property
    def copies(self) -> list[Tensor]:
        """The copied parameters, in the synthesizer's order."""
        return [getattr(self, f"copy_{index}") for index in range(len(self._names))]

    @torch.no_grad()
    def follow(self) -> None:
        """Count an update, and refresh the copy if it is due. Call after the synthesizer has been predicted from."""
        self.updates += 1
        if int(self.updates) % self.every == 0:
            for copy, parameter in zip(self.copies, self._leader[0].parameters(), strict=True):
                copy.lerp_(parameter, self.rate)
