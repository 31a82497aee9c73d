"""Building of the feedback between the layers of a feed-forward network."""

from torch import nn

from sgrnn import decoupled
from sgrnn.config.feedback import (
    BackpropagationConfig,
    DirectFeedbackAlignmentConfig,
    FeedbackAlignmentConfig,
    FeedbackConfig,
    KickbackConfig,
    NoFeedbackConfig,
    SyntheticFeedbackConfig,
)
from sgrnn.config.gradient import DecoupledConfig
from sgrnn.config.recipe import Recipe
from sgrnn.decoupled.estimator import modules_of
from sgrnn.models.readout import Readout
from sgrnn.models.sequence_model import SequenceModel


def build_decoupled(recipe: Recipe, section: DecoupledConfig, model: SequenceModel) -> decoupled.DecoupledGradients:
    """Return the estimator of a section `gradient` of the kind decoupled, for a model on a feed-forward core."""
    assert isinstance(model, Readout), "checked by the recipe"
    receivers, size, outputs = modules_of(model)[1:], model.output.in_features, model.output.out_features
    feedback = [
        build_feedback(section.feedback, receiver, size, outputs, 1000 * recipe.training.seed + number)
        for number, receiver in enumerate(receivers)
    ]
    inputs = [decoupled.input_synthesizer(model.input_size, size, size) for _ in receivers]
    return decoupled.DecoupledGradients(
        model,
        feedback,
        input_synthesizers=inputs if section.synthetic_inputs else None,
        update_probability=section.update_probability,
    )


def build_feedback(
    section: FeedbackConfig, receiver: nn.Module, message_size: int, output_size: int, seed: int
) -> decoupled.Feedback:
    """Return the feedback of a section `gradient.feedback` at one interface.

    Args:
        section: the section.
        receiver: the module above the interface.
        message_size: features of a message.
        output_size: features of the network's outputs; targets have one more, as those of a task.
        seed: of what is drawn and stays.
    """
    match section:
        case BackpropagationConfig():
            return decoupled.Backpropagation()
        case NoFeedbackConfig():
            return decoupled.NoFeedback()
        case FeedbackAlignmentConfig():
            return decoupled.FeedbackAlignment(receiver, seed)
        case DirectFeedbackAlignmentConfig():
            return decoupled.DirectFeedbackAlignment(message_size, output_size, seed)
        case KickbackConfig():
            return decoupled.Kickback()
        case SyntheticFeedbackConfig():
            known = {"nothing": 0, "label": output_size + 1, "error": output_size}[section.told]
            synthesizer = decoupled.MessageSynthesizer(
                message_size, section.hidden_sizes, known_size=known, sigmoid=section.sigmoid
            )
            return decoupled.SyntheticFeedback(synthesizer, told=section.told, shrinkage=section.shrinkage)
