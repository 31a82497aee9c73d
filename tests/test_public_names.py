"""The public names are exactly those that the library promises."""

import sgrnn

NAMES = """
    AdjointSynthesizer Dropout ErrorSynthesizer ExactAhead Follower Full GRU Gate HierarchicalCore InputError
    Interface LSTM LanguageModel Lookahead LookaheadEncoder MLPSynthesizer Mixed Policy RNN RecurrentLookahead
    Score Span State Step Synthetic TokenFeatures Truncated evaluate generate initial_state schedules
    state_size vector_features
"""


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(sgrnn.__all__) == NAMES.split()
    assert all(hasattr(sgrnn, name) for name in sgrnn.__all__)


def test_bad_input_can_be_caught_as_a_value_error() -> None:
    assert issubclass(sgrnn.InputError, ValueError)
