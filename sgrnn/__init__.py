"""Truncated back-propagation through time with synthetic gradients, for recurrent language models.

policy = sgrnn.Synthetic(window=5, synthesizer=model.synthesizer())
state = model.initial_state(batch_size)
for span in stream:
    step = policy.backward(model, model.loss, span, state)   # fills .grad of model and synthesizer
    ...                                                      # clip and step the optimizers
    state = step.state
"""

from typing import TYPE_CHECKING

from sgrnn.lazy import importer

if TYPE_CHECKING:
    from sgrnn import schedules
    from sgrnn.cores import GRU, LSTM, RNN, HierarchicalCore, initial_state
    from sgrnn.dropout import Dropout
    from sgrnn.errors import InputError
    from sgrnn.evaluation import Score, evaluate
    from sgrnn.generation import generate
    from sgrnn.injection import Gate
    from sgrnn.interface import Interface
    from sgrnn.language_model import LanguageModel
    from sgrnn.lookahead import Lookahead, LookaheadEncoder, RecurrentLookahead, TokenFeatures, vector_features
    from sgrnn.mixed import Mixed
    from sgrnn.policies import ExactAhead, Full, Policy, Step, Synthetic, Truncated
    from sgrnn.span import Span
    from sgrnn.state import State, state_size
    from sgrnn.synthesizers import AdjointSynthesizer, ErrorSynthesizer, Follower, MLPSynthesizer

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdjointSynthesizer",
    "Dropout",
    "ErrorSynthesizer",
    "ExactAhead",
    "Follower",
    "Full",
    "Gate",
    "HierarchicalCore",
    "InputError",
    "Interface",
    "LanguageModel",
    "Lookahead",
    "LookaheadEncoder",
    "MLPSynthesizer",
    "Mixed",
    "Policy",
    "RecurrentLookahead",
    "Score",
    "Span",
    "State",
    "Step",
    "Synthetic",
    "TokenFeatures",
    "Truncated",
    "evaluate",
    "generate",
    "initial_state",
    "schedules",
    "state_size",
    "vector_features",
]

_HOMES = {
    "schedules": "schedules",
    "cores": "GRU LSTM RNN HierarchicalCore initial_state",
    "dropout": "Dropout",
    "errors": "InputError",
    "evaluation": "Score evaluate",
    "generation": "generate",
    "injection": "Gate",
    "interface": "Interface",
    "language_model": "LanguageModel",
    "lookahead": "Lookahead LookaheadEncoder RecurrentLookahead TokenFeatures vector_features",
    "mixed": "Mixed",
    "policies": "ExactAhead Full Policy Step Synthetic Truncated",
    "span": "Span",
    "state": "State state_size",
    "synthesizers": "AdjointSynthesizer ErrorSynthesizer Follower MLPSynthesizer",
}

if not TYPE_CHECKING:  # to a type checker the names above are all there are
    __getattr__ = importer(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
