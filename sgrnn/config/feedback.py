"""The section `gradient.feedback`: the gradient that a layer is given in the place of the next layer's."""

from typing import Literal

from pydantic import PositiveInt

from sgrnn.config.section import Section


class BackpropagationConfig(Section):
    """The next layer's own gradient: every layer waits for those above."""

    kind: Literal["backprop"] = "backprop"


class NoFeedbackConfig(Section):
    """Nothing: the output layer alone learns. A control."""

    kind: Literal["none"] = "none"


class SyntheticFeedbackConfig(Section):
    """A prediction of the next layer's gradient, by a synthesizer that is trained on it."""

    kind: Literal["synthetic"] = "synthetic"
    told: Literal["nothing", "label", "error"] = "label"
    """Knowledge of the synthesizer beside a layer's outputs: nothing (DNI), the label (cDNI), or the gradient of the
    loss at the network's outputs."""
    hidden_sizes: tuple[PositiveInt, ...] = ()
    """Units of its hidden layers; [] makes it linear."""
    sigmoid: bool = False
    """Read the logistic sigmoid of all that it reads, too."""
    shrinkage: bool = False
    """Multiply predictions by the factor in [0, 1] that brings them closest to their targets."""


class FeedbackAlignmentConfig(Section):
    """The next layer's gradient through fixed random weights in the place of its own, of `training.seed`."""

    kind: Literal["alignment"] = "alignment"


class DirectFeedbackAlignmentConfig(Section):
    """The gradient at the network's outputs through fixed random weights, of `training.seed`."""

    kind: Literal["direct"] = "direct"


class KickbackConfig(Section):
    """One number of the output error, times the influence of a unit on the next layer."""

    kind: Literal["kickback"] = "kickback"


FeedbackConfig = (
    SyntheticFeedbackConfig
    | BackpropagationConfig
    | NoFeedbackConfig
    | FeedbackAlignmentConfig
    | DirectFeedbackAlignmentConfig
    | KickbackConfig
)
