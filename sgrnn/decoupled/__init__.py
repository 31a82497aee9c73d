"""Feed-forward networks whose modules are trained apart: synthetic gradients, and their kin, between them."""

from sgrnn.decoupled.alignment import DirectFeedbackAlignment, FeedbackAlignment, Kickback
from sgrnn.decoupled.chain import Chain
from sgrnn.decoupled.convolutions import ConvolutionalSynthesizer, convolutional
from sgrnn.decoupled.estimator import DecoupledGradients
from sgrnn.decoupled.feedback import Backpropagation, Exchange, Feedback, NoFeedback
from sgrnn.decoupled.networks import fully_connected, input_synthesizer
from sgrnn.decoupled.processes import Work, train_in_processes
from sgrnn.decoupled.synthetic import MessageSynthesizer, SyntheticFeedback, Told

__all__ = [
    "Backpropagation",
    "Chain",
    "ConvolutionalSynthesizer",
    "DecoupledGradients",
    "DirectFeedbackAlignment",
    "Exchange",
    "Feedback",
    "FeedbackAlignment",
    "Kickback",
    "MessageSynthesizer",
    "NoFeedback",
    "SyntheticFeedback",
    "Told",
    "Work",
    "convolutional",
    "fully_connected",
    "input_synthesizer",
    "train_in_processes",
]
