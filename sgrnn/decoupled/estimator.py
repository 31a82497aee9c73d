"""Decoupled training as a gradient estimator, for models whose core is a feed-forward network."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from sgrnn.cores.feedforward import FeedForward
from sgrnn.decoupled.chain import require_chain, require_probability
from sgrnn.decoupled.feedback import Feedback, all_metrics
from sgrnn.decoupled.passes import backpropagate
from sgrnn.estimators import GradientEstimator, Step
from sgrnn.estimators.estimator import BoundaryGradients
from sgrnn.estimators.reach import require_graph
from sgrnn.models.readout import Readout
from sgrnn.span import Span
from sgrnn.state import State


@final
class DecoupledGradients(GradientEstimator):
    """Estimate gradients of the layers of a feed-forward network by feedback at the interfaces between them.

    As `Chain`, with the optimizers left to who trains: one Adam of all parameters is as many of one module each. The
    moments of updates come from torch's own random generator.

    Args:
        model: a `sgrnn.models.readout.Readout` on a `FeedForward` core; its output layer is the last module.
        feedback: one for every interface, from the lowest; the highest is below the output layer.
        input_synthesizers: one for every layer but the first, the output layer counted; None to read what is sent.
        update_probability: p, in (0, 1].

    Raises:
        TypeError: the model is another.
        ValueError: as `Chain`.
    """

    def __init__(
        self,
        model: Readout,
        feedback: Sequence[Feedback],
        *,
        input_synthesizers: Sequence[nn.Module] | None = None,
        update_probability: float = 1.0,
    ) -> None:
        super().__init__(model, model.loss)
        modules = modules_of(model)
        require_chain(modules, model.task_loss, feedback, input_synthesizers)
        require_probability(update_probability, feedback)
        self.feedback = nn.ModuleList(feedback)
        self.input_synthesizers = None if input_synthesizers is None else nn.ModuleList(input_synthesizers)
        self.update_probability = update_probability

    def backward(self, span: Span, state: State = None) -> Step:
        """Add to the gradients of model, feedback and input synthesizers; see `GradientEstimator.backward`.

        Raises:
            ValueError: the span has several steps, between which a feed-forward network carries nothing, or a mask.
        """
        if span.steps != 1:
            raise ValueError(f"span must be of one step for a feed-forward network, got {span.steps}")
        if span.mask is not None:
            raise ValueError(
                "mask must be None for a feed-forward network, whose rows all count: leave rows out instead"
            )
        assert isinstance(self.model, Readout), "checked when it was made"
        modules, task_loss = modules_of(self.model), self.model.task_loss
        turns = (torch.rand(len(modules)) < self.update_probability).tolist()

        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            return task_loss(outputs.unsqueeze(0), targets.unsqueeze(0))[0]

        require_graph()
        mean = backpropagate(
            modules, loss, self.feedback, span.inputs[0], span.targets[0],
            turns=turns, input_synthesizers=self.input_synthesizers,
        )  # fmt: skip
        return Step(mean, (), all_metrics(self.feedback))

    def look(self, span: Span, state: State = None) -> BoundaryGradients:
        """Refuse to look at boundaries: a feed-forward network has none in time.

        Raises:
            ValueError: always.
        """
        raise ValueError("a feed-forward network has no boundaries between steps, which are what is looked at")


def modules_of(model: Readout) -> list[nn.Module]:
    """Return the layers of a model, from the inputs to the output layer.

    Raises:
        TypeError: its core is no feed-forward network.
    """
    if not isinstance(model, Readout) or not isinstance(model.core, FeedForward):
        core = getattr(model, "core", model)
        raise TypeError(f"model must be a Readout on a FeedForward core, got a {type(core).__name__}")
    return [*model.core.layers, model.output]
