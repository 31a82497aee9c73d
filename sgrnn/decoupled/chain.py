"""A chain of modules, each with an optimizer of its own, and feedback of any kind between them."""

from collections.abc import Callable, Iterable, Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from sgrnn.decoupled.feedback import Feedback, all_metrics
from sgrnn.decoupled.passes import Loss, backpropagate
from sgrnn.estimators.reach import require_graph

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


@final
class Chain(nn.Module):
    """Train modules one after the other, none of which has to wait for another's gradient (Jaderberg et al. 2016).

    A module reads what the one before it sends, with the graph cut off, and its gradient is what the feedback above it
    replies; the last module's is that of the loss. As a module, the chain is the network of all.

    >>> from sgrnn.decoupled import Backpropagation
    >>> modules = [nn.Linear(8, 16), nn.Sequential(nn.ReLU(), nn.Linear(16, 4))]
    >>> chain = Chain(modules, nn.CrossEntropyLoss(reduction="none"), [Backpropagation()])
    >>> loss = chain.train_step(torch.randn(5, 8), torch.tensor([0, 1, 2, 3, 0]))
    >>> loss.shape, chain(torch.randn(5, 8)).shape
    (torch.Size([]), torch.Size([5, 4]))

    Args:
        modules: from the inputs to the outputs. Each has parameters, and reads what the one before it sends.
        loss: of the last module's outputs, ``loss(outputs, targets) -> (rows,)``.
        feedback: one for every interface, from the lowest.
        input_synthesizers: one for every module but the first, which predicts from the chain's inputs what that module
            will be sent, and stands for it in training: no module waits for those below it (complete unlock).
        optimizer: makes the optimizer of a module's parameters; None for Adam.
        synthesizer_optimizer: makes that of a feedback's or an input synthesizer's; None for `optimizer`.
        update_probability: p, in (0, 1]: every module is updated with this probability at every step, at random moments
            of its own. One that is not goes forwards alone, and the feedback below it learns nothing.
        seed: of these moments.

    Raises:
        TypeError: `modules` or `feedback` hold something else.
        ValueError: these are too few or too many, a module has no parameters or the loss some, p is out of range, or
            below 1 for feedback that waits for its receiver.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        loss: Loss,
        feedback: Sequence[Feedback],
        *,
        input_synthesizers: Sequence[nn.Module] | None = None,
        optimizer: MakeOptimizer | None = None,
        synthesizer_optimizer: MakeOptimizer | None = None,
        update_probability: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_chain(modules, loss, feedback, input_synthesizers)
        require_probability(update_probability, feedback)
        self.network = nn.Sequential(*modules)
        self.feedback = nn.ModuleList(feedback)
        self.input_synthesizers = None if input_synthesizers is None else nn.ModuleList(input_synthesizers)
        self.loss, self.update_probability = loss, update_probability
        make: MakeOptimizer = Adam if optimizer is None else optimizer
        self.optimizers = [make(module.parameters()) for module in modules]
        make = make if synthesizer_optimizer is None else synthesizer_optimizer
        self.feedback_optimizers = [_made(make, one) for one in feedback]
        self.input_optimizers = [_made(make, one) for one in input_synthesizers or []]
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs of the network (rows, ...)."""
        return self.network(inputs)

    def train_step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Go forwards, give the modules their gradients, and update those whose turn it is.

        Gradients that lie there are none of it: they are zeroed before and after.

        Args:
            inputs: (rows, ...).
            targets: (rows, ...).

        Returns:
            the mean loss before the update, a detached scalar.

        Raises:
            ValueError: a module cannot read what is sent to it, the loss is not one number per row, or no graph is
                recorded.
        """
        require_graph("train_step")
        turns = torch.rand(len(self.network), generator=self._generator) < self.update_probability
        optimizers = [*self.optimizers, *self.feedback_optimizers, *self.input_optimizers]
        optimizers = [each for each in optimizers if each is not None]
        for optimizer in optimizers:
            optimizer.zero_grad()  # of what a look at the true gradient left, or a batch that was refused
        loss = backpropagate(
            self.network, self.loss, self.feedback, inputs, targets,
            turns=turns.tolist(), input_synthesizers=self.input_synthesizers,
        )  # fmt: skip
        for optimizer in optimizers:
            optimizer.step()  # which passes over parameters without a gradient
            optimizer.zero_grad()
        return loss

    def metrics(self) -> dict[str, Tensor]:
        """Return the metrics of all feedback, by the number of its interface, from 1."""
        return all_metrics(self.feedback)


def _made(make: MakeOptimizer, module: nn.Module) -> Optimizer | None:
    return make(module.parameters()) if list(module.parameters()) else None


def require_chain(
    modules: Sequence[nn.Module],
    loss: Loss,
    feedback: Sequence[Feedback],
    input_synthesizers: Sequence[nn.Module] | None,
) -> None:
    """Refuse modules, loss and feedback that make no chain.

    Raises:
        TypeError, ValueError: as `Chain`.
    """
    for number, module in enumerate(modules):
        if not isinstance(module, nn.Module):
            raise TypeError(f"modules.{number} must be a torch.nn.Module, got a {type(module).__name__}")
        if not list(module.parameters()):
            raise ValueError(
                f"modules.{number} must have parameters, got {type(module).__name__} without any: join it to another "
                "by torch.nn.Sequential"
            )
    if len(modules) < 2:
        raise ValueError(f"modules must be two or more, got {len(modules)}")
    for number, one in enumerate(feedback):
        if not isinstance(one, Feedback):
            raise TypeError(f"feedback.{number} must be a Feedback, got a {type(one).__name__}")
    if isinstance(loss, nn.Module) and any(parameter.requires_grad for parameter in loss.parameters()):
        raise ValueError("loss must have no parameters that learn, which nothing trains: put them into the last module")
    interfaces = len(modules) - 1
    if len(feedback) != interfaces:
        raise ValueError(f"feedback must be one for each of the {interfaces} interfaces, got {len(feedback)}")
    if input_synthesizers is not None and len(input_synthesizers) != interfaces:
        raise ValueError(
            f"input_synthesizers must be one for each of the {interfaces} modules but the first, got "
            f"{len(input_synthesizers)}"
        )


def require_probability(update_probability: float, feedback: Sequence[Feedback]) -> None:
    """Refuse a probability that is none, or feedback that cannot do with it.

    Raises:
        ValueError: as `Chain`.
    """
    if not 0 < update_probability <= 1:
        raise ValueError(f"update_probability must be in (0, 1], got {update_probability}")
    waiting = [type(one).__name__ for one in feedback if one.waits_for == "receiver"]
    if update_probability < 1 and waiting:
        raise ValueError(
            f"update_probability must be 1 for {waiting[0]}, which waits for the receiver's gradient, got "
            f"{update_probability}"
        )
