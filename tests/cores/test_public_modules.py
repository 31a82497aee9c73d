"""Recurrent modules from the package index become cores, train as they do by hand, and with synthetic gradients."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import opengdn
import pytest
import torch
from mambapy.mamba import Mamba, MambaConfig
from minGRU_pytorch.minGRU import minGRU
from tolerances import assert_close
from torch import Tensor, nn
from xlstm.blocks.mlstm.layer import mLSTMLayer, mLSTMLayerConfig
from xlstm.blocks.slstm.layer import sLSTMLayer, sLSTMLayerConfig

import sgrnn

SIZE, ROWS, WINDOW = 8, 3, 5


def mamba() -> Mamba:
    return Mamba(MambaConfig(d_model=SIZE, n_layers=1, d_state=2, expand_factor=1))


def mamba_caches(rows: int) -> list[tuple[Tensor, Tensor]]:
    return [(torch.zeros(rows, SIZE, 2), torch.zeros(rows, SIZE, 3))]


def gated_delta() -> opengdn.GatedDeltaMixer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", opengdn.OpenGDNPerformanceWarning)  # on a CPU there is no faster way
        return opengdn.GatedDeltaMixer(SIZE, 2, backend="chunkwise")


def slstm() -> sLSTMLayer:
    return sLSTMLayer(sLSTMLayerConfig(embedding_dim=SIZE, num_heads=2, backend="vanilla"))


def mlstm() -> mLSTMLayer:
    return mLSTMLayer(mLSTMLayerConfig(embedding_dim=SIZE, num_heads=2, context_length=WINDOW))


def mlstm_step(layer: mLSTMLayer, inputs: Tensor, state: dict[str, Any] | None) -> tuple[Tensor, dict[str, Any]]:
    outputs, state = layer.step(inputs[:, None], **(state or {}))
    return outputs[:, 0], state


def mamba_window(model: Mamba, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Run Mamba step by step over (batch, time, features), by hand."""
    outputs, caches = [], state or [tuple(cache.double() for cache in layer) for layer in mamba_caches(len(inputs))]
    for step in inputs.unbind(1):
        output, caches = model.step(step, list(caches))
        outputs.append(output)
    return torch.stack(outputs, 1), caches


def mlstm_window(layer: mLSTMLayer, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Run an mLSTM step by step over (batch, time, features), by hand."""
    outputs = []
    for step in inputs.split(1, dim=1):
        if state:  # its convolution writes into the state, which the graph still needs
            state = {**state, "conv_state": tuple(each.clone() for each in state["conv_state"])}
        output, state = layer.step(step, **(state or {}))
        outputs.append(output)
    return torch.cat(outputs, 1), state


@dataclass(frozen=True)
class Case:
    """A public module, the declaration that makes a core of it, and a call of it by hand, batch first."""

    make: Callable[[], nn.Module]
    declared: dict[str, Any]
    by_hand: Callable[[Any, Tensor, Any], tuple[Tensor, Any]]


CASES = {
    "minGRU": Case(
        lambda: minGRU(SIZE),
        {"batch_first": True, "state": "prev_hidden", "return_next_prev_hidden": True},
        lambda model, inputs, state: model(inputs, state, return_next_prev_hidden=True),
    ),
    "Mamba": Case(mamba, {"call": Mamba.step, "by_step": True, "initial_state": mamba_caches}, mamba_window),
    "gated delta network": Case(
        gated_delta,
        {"batch_first": True, "return_state": True},
        lambda model, inputs, state: model(inputs, state, return_state=True),
    ),
    "sLSTM": Case(
        slstm,
        {"batch_first": True, "state": ("conv_state", "slstm_state"), "return_last_state": True},
        lambda model, inputs, state: model(inputs, **(state or {}), return_last_state=True),
    ),
    "mLSTM": Case(mlstm, {"call": mlstm_step, "by_step": True}, mlstm_window),
    "torch.nn.LSTM": Case(
        lambda: nn.LSTM(SIZE, SIZE, 2, batch_first=True),
        {"batch_first": True},
        lambda model, inputs, state: model(inputs, state),
    ),
}


def detached(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: detached(part) for key, part in state.items()}
    return type(state)(map(detached, state)) if isinstance(state, tuple | list) else state.detach()


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean(-1)


@pytest.mark.parametrize("name", CASES)
def test_windows_have_the_gradients_of_the_module_called_by_hand_and_detached_between_them(name: str) -> None:
    case, steps = CASES[name], 3 * WINDOW
    torch.manual_seed(0)
    module = case.make().double()
    inputs, targets = torch.randn(2, steps, ROWS, SIZE, dtype=torch.float64)

    loss, state = torch.zeros((), dtype=torch.float64), None
    for start in range(0, steps, WINDOW):
        window = slice(start, start + WINDOW)
        outputs, state = case.by_hand(
            module, inputs[window].transpose(0, 1), None if state is None else detached(state)
        )
        loss = loss + squares(outputs.transpose(0, 1), targets[window]).sum() / (steps * ROWS)
    loss.backward()
    expected = {key: each.grad for key, each in module.named_parameters() if each.grad is not None}
    module.zero_grad()

    estimator = sgrnn.TruncatedBPTT(sgrnn.AdaptedCore(module, **case.declared), squares, window=WINDOW)
    whole = estimator.backward(sgrnn.Span(inputs, targets))
    assert_close(whole.loss, loss.detach())
    assert all(gradient.any() for gradient in expected.values())
    assert_close({key: each.grad for key, each in module.named_parameters() if each.grad is not None}, expected)


@pytest.mark.parametrize("name", ["minGRU", "Mamba", "gated delta network", "sLSTM"])
def test_synthetic_gradients_train_it(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    core, head = sgrnn.AdaptedCore(case.make(), **case.declared), nn.Linear(SIZE, SIZE)
    inputs = torch.randn(150, 24, SIZE)
    targets = torch.zeros_like(inputs)
    for step in range(1, 150):  # a sum that leaks, and so reaches over many windows
        targets[step] = 0.9 * targets[step - 1] + 0.4 * inputs[step]

    estimator = sgrnn.SyntheticGradients(
        core, lambda outputs, targets: squares(head(outputs), targets), window=WINDOW, example=inputs
    )
    optimizer = torch.optim.Adam([*core.parameters(), *head.parameters(), *estimator.parameters()], lr=0.01)
    losses, r2, state = [], [], None
    for _ in range(5):
        for span in sgrnn.spans(inputs, targets, steps=10, lookahead=estimator.lookahead):
            step = estimator.backward(span, state)
            state = step.state
            nn.utils.clip_grad_norm_(core.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(step.loss))
            r2.append(float(step.metrics["target_r2"]))
    assert sum(losses[-15:]) < 0.85 * sum(losses[:15])
    assert sum(r2[-15:]) / 15 > 0.2
