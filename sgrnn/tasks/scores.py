"""Losses and correctness of a task's outputs, one value per step and row, zero or False where there is no target.

Targets are (time, batch, output_size + 1): what the outputs should be, and in the last channel 1 where there is a
target and 0 where the outputs may be anything. Mask and values are one tensor, so that a span divides both at once and
a synthesizer that sees targets sees both.
"""

from math import log

import torch.nn.functional as F
from torch import Tensor

from sgrnn.span import Span


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of a step's bits, averaged over the bits, in bits: guessing costs 1 bit.

    Args:
        outputs: (time, batch, output_size) log-odds that a bit is 1.
        targets: (time, batch, output_size + 1) bits, and 1 where there is a target.

    Returns:
        (time, batch).
    """
    wanted, mask = targets[..., :-1], targets[..., -1]
    return F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").mean(dim=-1) * mask / log(2)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of the class that a step asks for, in nats.

    Args:
        outputs: (time, batch, output_size) unnormalized log-probabilities of the classes.
        targets: (time, batch, output_size + 1) the class as a one-hot vector, and 1 where there is a target.

    Returns:
        (time, batch).
    """
    wanted, mask = targets[..., :-1], targets[..., -1]
    return -(F.log_softmax(outputs, dim=-1) * wanted).sum(dim=-1) * mask


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the squared differences of outputs and targets, summed over the outputs of a step.

    Args:
        outputs: (time, batch, output_size).
        targets: (time, batch, output_size + 1) values, and 1 where there is a target.

    Returns:
        (time, batch).
    """
    wanted, mask = targets[..., :-1], targets[..., -1]
    return (outputs - wanted).square().sum(dim=-1) * mask


def bits_correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """True where all bits of a step are right, False where there is no target.

    Args:
        outputs: (time, batch, output_size) log-odds that a bit is 1.
        targets: (time, batch, output_size + 1) bits, and 1 where there is a target.

    Returns:
        (time, batch) bool.
    """
    wanted, mask = targets[..., :-1], targets[..., -1]
    return ((outputs > 0) == wanted.bool()).all(dim=-1) & mask.bool()


def class_correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """True where the likeliest class of a step is the one that it asks for, False where there is no target.

    Args:
        outputs: (time, batch, output_size) unnormalized log-probabilities of the classes.
        targets: (time, batch, output_size + 1) the class as a one-hot vector, and 1 where there is a target.

    Returns:
        (time, batch) bool.
    """
    wanted, mask = targets[..., :-1], targets[..., -1]
    return (outputs.argmax(dim=-1) == wanted.argmax(dim=-1)) & mask.bool()


def loss_per_target(mean_loss: Tensor | float, episode: Span) -> float:
    """Convert the mean loss over all steps, as estimators give it, to the mean over the steps with a target.

    Args:
        mean_loss: per step and row of the episode, as `sgrnn.Step.loss`. Of spans cut from the episode it is the mean
            of theirs, weighted by their steps.
        episode: the data.

    Raises:
        ValueError: the episode asks for nothing.
    """
    mask = episode.targets[..., -1]
    targets = float(mask.sum())
    if targets == 0:
        raise ValueError("episode must have a step with a target, got one with none: give the whole episode")
    return float(mean_loss) * mask.numel() / targets
