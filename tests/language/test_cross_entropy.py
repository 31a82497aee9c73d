"""Output layer and loss in one step equal the same in two."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sgrnn.models.cross_entropy import output_loss


def two_steps(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(features, weight, bias), targets, reduction="none")


def arguments(dtype: torch.dtype) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, Tensor]:
    """(features, weight, bias), targets, and what the losses are weighted by."""
    torch.manual_seed(0)
    features, weight, bias = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in [(7, 5), (11, 5), (11,)])
    return (features, weight, bias), torch.randint(11, (7,)), torch.randn(7, dtype=dtype)


def test_losses_and_gradients_equal_linear_then_cross_entropy() -> None:
    tensors, targets, weighting = arguments(torch.float64)
    expected = two_steps(*tensors, targets)
    gradients = torch.autograd.grad(expected @ weighting, tensors)
    found = output_loss(*tensors, targets, torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(torch.autograd.grad(found @ weighting, tensors), gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_bfloat16_products_stay_near_and_give_gradients_in_float32() -> None:
    tensors, targets, weighting = arguments(torch.float32)
    gradients = torch.autograd.grad(two_steps(*tensors, targets) @ weighting, tensors)
    found = output_loss(*tensors, targets, torch.bfloat16)
    assert found.dtype == torch.float32
    for ours, theirs in zip(torch.autograd.grad(found @ weighting, tensors), gradients, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_losses_can_be_gone_through_part_by_part() -> None:
    tensors, targets, weighting = arguments(torch.float64)
    losses = output_loss(*tensors, targets, torch.float64)
    parts = [torch.autograd.grad(half.sum(), tensors, retain_graph=True) for half in (losses * weighting).split(4)]
    expected = torch.autograd.grad(two_steps(*tensors, targets) @ weighting, tensors)
    for whole, halves in zip(expected, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(sum(halves), whole, rtol=1e-12, atol=1e-12)


def test_its_precision_is_its_own_where_autocast_is_on_forwards_alone() -> None:
    tensors, targets, weighting = arguments(torch.float32)
    expected = torch.autograd.grad(output_loss(*tensors, targets, torch.float32) @ weighting, tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = output_loss(*tensors, targets, torch.float32)
    for ours, theirs in zip(torch.autograd.grad(losses @ weighting, tensors), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_it_refuses_to_be_differentiated_twice() -> None:
    (features, weight, bias), targets, weighting = arguments(torch.float64)
    losses = output_loss(features, weight, bias, targets, torch.float64)
    (first,) = torch.autograd.grad(losses @ weighting.requires_grad_(), [features], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_hopeless_target_has_its_exact_loss_and_gradient() -> None:
    features = torch.tensor([[200.0], [1.0]], requires_grad=True)
    weight, bias, targets = torch.tensor([[1.0], [0.0]]), torch.zeros(2), torch.tensor([1, 1])
    found = output_loss(features, weight, bias, targets, torch.float32)
    found.sum().backward()
    torch.testing.assert_close(found.detach(), torch.tensor([200.0, 1.3132617]))
    torch.testing.assert_close(features.grad, torch.tensor([[1.0], [0.7310586]]))  # probability of weight 1
