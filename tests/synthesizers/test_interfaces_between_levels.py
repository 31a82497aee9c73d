"""Between the levels of a core an interface decouples the fast from the slow, and is trained with them."""

import pytest
import torch
from given import make_oracle
from models import gradients, make_hierarchy, make_span, make_state, squared_error
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.estimators import BPTT, ControlVariate, Delayed, SyntheticGradients, TruncatedBPTT
from sgrnn.span import Span
from sgrnn.synthesizers import Interface, MLPSynthesizer


def run_hierarchy(interface: Interface | None, steps: int = 11) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Gradients of all parameters, and what arrives at the summaries that go up."""
    core = make_hierarchy(1, 4, interfaces=[interface])
    read: list[Tensor] = []

    def keep(level: nn.Module, given: tuple[Tensor, ...]) -> None:
        if given[0].requires_grad:
            given[0].retain_grad()
        read.append(given[0])

    core.levels[1].register_forward_pre_hook(keep)
    span = make_span(steps)
    outputs, state = core(span.inputs, make_state(core))
    (squared_error(outputs, span.targets).sum() + state["messages"][0].sum()).backward()
    return gradients(core), [torch.zeros_like(one[0]) if one.grad is None else one.grad[0] for one in read]


def test_between_levels_the_exact_gradient_makes_no_difference() -> None:
    expected, exact = run_hierarchy(None)
    assert len(exact) > 11 / 4, "rows tick at different steps"
    found, _ = run_hierarchy(make_oracle(exact))
    assert_close(found, expected)


def test_between_levels_the_fast_one_need_not_wait() -> None:
    answer = torch.randn(3, 3, dtype=torch.float64)
    interface = make_oracle([answer])
    core = make_hierarchy(1, 4, interfaces=[interface])
    assert not set(core.parameters()) & set(interface.parameters()), "they have an optimizer of their own"
    state = make_state(core)
    state["phase"] = torch.full_like(state["phase"], 3)
    span = make_span(1)
    TruncatedBPTT(core, squared_error, 1).backward(span, state)  # the slow level ticks at its end, and tells none of it
    without = make_hierarchy(1, 4)
    TruncatedBPTT(without, squared_error, 1).backward(span, state)
    first = state["fast"]
    outputs, _ = without.levels[0](torch.cat([span.inputs, state["messages"][0][None]], dim=-1), first)
    ((state["summaries"][0] + outputs[0]) / 4 * answer).sum().backward()
    assert_close(gradients(core), gradients(without))


def test_between_levels_it_is_trained_by_the_estimators_backward_pass() -> None:
    interface = Interface(MLPSynthesizer(3, (5,))).double()
    core = make_hierarchy(1, 4, interfaces=[interface])
    for estimator in (
        BPTT(core, squared_error),
        SyntheticGradients(core, squared_error, 3, synthesizer=MLPSynthesizer(15)).double(),
        SyntheticGradients(core, squared_error, 2, synthesizer=MLPSynthesizer(15), parallel=True).double(),
    ):
        interface.zero_grad()
        estimator.backward(make_span(12), make_state(core))
        assert any(gradient.any() for gradient in gradients(interface).values())


def test_between_levels_they_are_refused_where_a_message_would_be_sent_again_or_in_padding() -> None:
    core = make_hierarchy(1, 4, interfaces=[Interface(MLPSynthesizer(3, (5,))).double()])
    synthetic = SyntheticGradients(core, squared_error, 3, synthesizer=MLPSynthesizer(15)).double()
    refused = r", so that interfaces\[0\] must be None in the model, got an Interface$"
    with pytest.raises(ValueError, match=f"^rows that are drawn run again, and send each message .*{refused}"):
        ControlVariate(synthetic)
    with pytest.raises(ValueError, match=f"^a window runs again after its delay, and sends each message .*{refused}"):
        Delayed(synthetic, 3)
    with pytest.raises(ValueError, match=f"^windows that overlap send each message between levels again{refused}"):
        TruncatedBPTT(core, squared_error, 4, every=3)
    TruncatedBPTT(core, squared_error, 4, every=4)
    span, mask = make_span(6), torch.ones(6, 3, dtype=torch.bool)
    mask[5, 1] = False
    for estimator in (synthetic, BPTT(core, squared_error)):
        is_last = torch.tensor([False, True, False])
        estimator.backward(Span(span.inputs, span.targets, is_last=is_last, mask=torch.ones_like(mask)))
        with pytest.raises(ValueError, match=f"^span.mask has padding, in which levels send messages .*{refused}"):
            estimator.backward(Span(span.inputs, span.targets, is_last=is_last, mask=mask))
