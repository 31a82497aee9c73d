"""The written backward pass has the values and the gradients of the plain definition that stands beside it."""

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.synthesizers import ErrorSynthesizer, Lookahead
from sgrnn.synthesizers.carried import carried_back
from sgrnn.synthesizers.jacobian import JacobianSynthesizer

ROWS, AHEAD, INPUTS = 5, 4, 3
KINDS: dict[str, dict[str, int | None]] = {
    "unit to unit": {"state_size": 12, "output_size": 6},
    "part of the state unit to unit": {"state_size": 12, "output_size": 6, "aligned_size": 6},
    "across units alone": {"state_size": 12, "output_size": 5},
    "one step near": {"state_size": 12, "output_size": 6, "near": 1},
    "all steps near": {"state_size": 12, "output_size": 6, "near": AHEAD},
}


def drawn(kind: str, rank: int = 4) -> ErrorSynthesizer:
    torch.manual_seed(0)
    options = {"hidden_size": 7, "rank": rank, "projection": 3, "near": 2, **KINDS[kind]}
    made = ErrorSynthesizer(feature_size=INPUTS, lookahead=AHEAD, **options).double()  # pyright: ignore[reportArgumentType]
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def ahead(synthesizer: JacobianSynthesizer, valid: bool) -> tuple[Tensor, Lookahead]:
    torch.manual_seed(1)
    size = synthesizer.output_projection.shape[1]
    sizes = (ROWS, synthesizer.last.out_features), (synthesizer.reads, ROWS, INPUTS), (AHEAD, ROWS, size)
    state, features, gradients = (torch.randn(*shape).double() for shape in sizes)
    return state, Lookahead(features, torch.rand(AHEAD, ROWS) < 0.7 if valid else None, gradients)


@pytest.mark.parametrize("valid", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_the_plain_definition(kind: str, valid: bool) -> None:
    synthesizer = drawn(kind)
    state, lookahead = ahead(synthesizer, valid)
    found = synthesizer(state, lookahead).squeeze(1)
    plain = synthesizer.carry_back(synthesizer.read(state, lookahead), lookahead)
    assert_close(found, plain)
    assert type(found.grad_fn) is not type(plain.grad_fn)
    weights, learned = torch.randn_like(plain), list(synthesizer.parameters())
    assert_close(torch.autograd.grad(found, learned, weights), torch.autograd.grad(plain, learned, weights))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    made = drawn(kind, rank=2)
    state, lookahead = ahead(made, valid=False)
    assert lookahead.features is not None
    assert lookahead.output_gradients is not None
    data = state, lookahead.features, lookahead.output_gradients
    gain = (made.gain, made.gain_bias) if made.repeats else (None, None)
    parameters = (
        made.state_projection.weight, made.state_projection.bias, made.input_projection, made.input_weight, made.gate,
        made.gate_bias, made.output_projection, made.last.weight, *gain,
    )  # fmt: skip
    assert torch.autograd.gradcheck(carried_back, (*data, *parameters), fast_mode=True)  # pyright: ignore[reportArgumentType]


def test_data_with_a_graph_have_their_gradients_by_the_plain_definition() -> None:
    synthesizer = drawn("unit to unit")
    state, lookahead = ahead(synthesizer, valid=False)
    synthesizer(state.requires_grad_(), lookahead).sum().backward()
    assert state.grad is not None
    assert state.grad.any()
