"""A layer of an LSTM in few large products: torch's equations, and where the core takes it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sgrnn import LSTM, Checkpointed, LanguageModel, TruncatedBPTT
from sgrnn.cores import lstm
from sgrnn.cores.lstm_products import lstm_by_products
from sgrnn.span import Span

STEPS, ROWS, READ, SIZE = 6, 3, 5, 4


def problem(dtype: torch.dtype, read: int = READ, size: int = SIZE) -> tuple[nn.LSTM, list[Tensor], list[Tensor]]:
    torch.manual_seed(0)
    layer = nn.LSTM(read, size).to(dtype)
    sizes = ((STEPS, ROWS, read), (ROWS, size), (ROWS, size))
    given = [torch.randn(each, dtype=dtype, requires_grad=True) for each in sizes]
    arriving = [torch.randn(each, dtype=dtype) for each in ((STEPS, ROWS, size), (ROWS, size), (ROWS, size))]
    return layer, given, arriving


def by_torch(layer: nn.LSTM, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    outputs, (last_hidden, last_cell) = layer(inputs, (hidden[None], cell[None]))
    return outputs, last_hidden[0], last_cell[0]


def by_products(precision: torch.dtype) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    return lambda layer, inputs, hidden, cell: lstm_by_products(inputs, hidden, cell, [*layer.parameters()], precision)


def differentiated(
    run: Callable[..., tuple[Tensor, Tensor, Tensor]], layer: nn.LSTM, given: list[Tensor], arriving: list[Tensor]
) -> list[Tensor]:
    results = run(layer, *given)
    return [*results, *torch.autograd.grad(results, [*given, *layer.parameters()], arriving)]


def test_outputs_and_gradients_are_those_of_torchs_layer() -> None:
    layer, given, arriving = problem(torch.float64)
    expected = differentiated(by_torch, layer, given, arriving)
    found = differentiated(by_products(torch.float64), layer, given, arriving)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("place", range(3))
def test_a_gradient_that_arrives_at_one_result_alone_is_enough(place: int) -> None:
    layer, given, arriving = problem(torch.float64)
    found, expected = (
        torch.autograd.grad(run(layer, *given)[place], [*given, *layer.parameters()], arriving[place])
        for run in (by_products(torch.float64), by_torch)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_what_is_held_constant_has_no_gradient_and_changes_no_other() -> None:
    layer, given, arriving = problem(torch.float64)
    expected = differentiated(by_torch, layer, given, arriving)
    layer.weight_ih_l0.requires_grad_(False)
    inputs = given[0].detach()
    results = by_products(torch.float64)(layer, inputs, *given[1:])
    torch.autograd.backward(results, arriving)
    assert layer.weight_ih_l0.grad is None
    assert inputs.grad is None
    for tensor, gradient in zip([*given[1:], layer.weight_hh_l0], [*expected[4:6], expected[7]], strict=True):
        torch.testing.assert_close(tensor.grad, gradient, rtol=1e-12, atol=1e-13)


def test_products_in_bfloat16_round_by_no_more_than_a_hundredth() -> None:
    layer, given, arriving = problem(torch.float32, 64, 64)
    expected = differentiated(by_torch, layer, given, arriving)
    found = differentiated(by_products(torch.bfloat16), layer, given, arriving)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.01 * other.norm()


def test_a_gradient_is_differentiated_itself_as_torchs_is() -> None:
    layer, given, arriving = problem(torch.float64)
    found, expected = (second_order(run, layer, given, arriving) for run in (by_products(torch.float64), by_torch))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def second_order(
    run: Callable[..., tuple[Tensor, Tensor, Tensor]], layer: nn.LSTM, given: list[Tensor], arriving: list[Tensor]
) -> tuple[Tensor, ...]:
    results = run(layer, *given)
    (gradient,) = torch.autograd.grad(results, given[0], arriving, create_graph=True)
    penalized = results[0].square().sum() + gradient.square().sum()
    return torch.autograd.grad(penalized, [*given, *layer.parameters()])


def test_a_backward_pass_inside_a_users_autocast_is_not_rounded_further() -> None:
    layer, given, arriving = problem(torch.float32)
    results, again = (by_products(torch.bfloat16)(layer, *given) for _ in range(2))
    expected = torch.autograd.grad(results, [*given, *layer.parameters()], arriving)
    with torch.autocast("cpu", torch.float16):
        found = torch.autograd.grad(again, [*given, *layer.parameters()], arriving)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_no_rows_have_no_gradient() -> None:
    layer, given, arriving = problem(torch.float64)
    nobody = [tensor[..., :0, :].detach().requires_grad_() for tensor in given]
    for gradient in differentiated(by_products(torch.float64), layer, nobody, [each[..., :0, :] for each in arriving]):
        assert not gradient.count_nonzero()


def gradients_of(module: nn.Module) -> list[Tensor]:
    return [torch.zeros(()) if each.grad is None else each.grad.clone() for each in module.parameters()]


def wide(monkeypatch: pytest.MonkeyPatch, weight_dropout: float = 0.0) -> tuple[LSTM, list[int]]:
    """A core that counts as wide on a processor that counts as fit, and what it ran by products so far."""
    monkeypatch.setattr(lstm, "_WIDE", SIZE)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    ran: list[int] = []

    def counted(*arguments: object) -> tuple[Tensor, Tensor, Tensor]:
        ran.append(1)
        return lstm_by_products(*arguments)  # pyright: ignore

    monkeypatch.setattr(lstm, "lstm_by_products", counted)
    torch.manual_seed(0)
    return LSTM(READ, SIZE, 2, weight_dropout=weight_dropout, precision=torch.bfloat16), ran


def test_a_wide_core_takes_its_products_in_bfloat16_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    low, ran = wide(monkeypatch)
    exact = LSTM(READ, SIZE, 2)
    exact.load_state_dict(low.state_dict())
    inputs = torch.randn(STEPS, ROWS, READ)
    outputs, state = low(inputs)
    assert len(ran) == 2
    assert {outputs.dtype, *(tensor.dtype for tensor in state)} == {torch.float32}
    expected, _ = exact(inputs)
    outputs.square().sum().backward()
    expected.square().sum().backward()
    for one, other in zip(gradients_of(low), gradients_of(exact), strict=True):
        assert 0 < (one - other).norm() < 0.05 * other.norm()
    low.eval()
    torch.testing.assert_close(low(inputs)[0], expected)
    assert len(ran) == 2


def test_a_dropped_recurrent_matrix_is_the_one_that_is_multiplied_with(monkeypatch: pytest.MonkeyPatch) -> None:
    core, ran = wide(monkeypatch, weight_dropout=0.5)
    dropped = torch.zeros(4 * SIZE, SIZE)
    monkeypatch.setattr(core, "_recurrent", lambda layer, index: dropped)
    state = core.initial_state(ROWS)
    outputs, _ = core(torch.randn(STEPS, ROWS, READ), (torch.ones_like(state[0]), state[1]))
    outputs.sum().backward()
    assert len(ran) == 2
    gradients = {name: parameter.grad for name, parameter in core.named_parameters()}
    assert {name for name, gradient in gradients.items() if gradient is None} == {
        "layers.0.weight_hh_l0",
        "layers.1.weight_hh_l0",
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_precision_than_float32_keeps_torchs_call(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    core, ran = wide(monkeypatch)
    outputs, _ = core.to(dtype)(torch.randn(STEPS, ROWS, READ, dtype=dtype))
    assert outputs.dtype == dtype
    assert not ran


def test_torch_func_keeps_torchs_call(monkeypatch: pytest.MonkeyPatch) -> None:
    core, ran = wide(monkeypatch)
    inputs = torch.randn(STEPS, ROWS, READ)

    def total(parameters: dict[str, Tensor]) -> Tensor:
        outputs, _ = torch.func.functional_call(core, parameters, (inputs,))
        return outputs.sum()

    gradients = torch.func.grad(total)(dict(core.named_parameters()))
    assert all(gradient.count_nonzero() for gradient in gradients.values())
    assert not ran


def test_layers_with_hooks_keep_their_own_call(monkeypatch: pytest.MonkeyPatch) -> None:
    core, ran = wide(monkeypatch)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    called: list[nn.Module] = []
    core.layers[1].register_forward_hook(lambda module, *_: called.append(module))
    core(torch.randn(STEPS, ROWS, READ))
    assert called == [core.layers[1]]
    assert not ran


def test_windows_that_run_twice_come_to_the_same_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a graph the first time and with one the second: by one kernel, or the two would round apart."""
    monkeypatch.setattr(lstm, "_WIDE", 8)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    torch.manual_seed(0)
    model = LanguageModel(11, 8, LSTM(8, 8, precision=torch.bfloat16), 8)
    tokens = torch.randint(11, (13, ROWS))
    span = Span(tokens[:-1], tokens[1:])
    found = []
    for estimator in (Checkpointed(model, model.loss, 4), TruncatedBPTT(model, model.loss, 12)):
        step = estimator.backward(span, model.initial_state(ROWS))
        found.append([step.loss, *step.state, *gradients_of(model)])
        model.zero_grad()
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=1e-3)
    torch.testing.assert_close(found[0][:3], found[1][:3], rtol=0, atol=0)
