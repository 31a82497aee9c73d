"""Whether outputs are right: one answer per step and row, False where there is no target.

Targets are those of `sgrnn.tasks.losses`.
"""

from torch import Tensor


def bits_correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether all bits of a step are right.

    Args:
        outputs: (time, batch, output_size) log-odds that a bit is 1.
        targets: (time, batch, output_size + 1) bits, and whether there is a target.

    Returns:
        (time, batch) bool.
    """
    wanted, mask = targets[..., :-1], targets[..., -1]
    return ((outputs > 0) == wanted.bool()).all(dim=-1) & mask.bool()


def class_correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether the likeliest class of a step is the one that it asks for.

    Args:
        outputs: (time, batch, output_size) unnormalized log-probabilities of the classes.
        targets: (time, batch, output_size + 1) the class as a one-hot vector, and whether there is a target.

    Returns:
        (time, batch) bool.
    """
    wanted, mask = targets[..., :-1], targets[..., -1]
    return (outputs.argmax(dim=-1) == wanted.argmax(dim=-1)) & mask.bool()
