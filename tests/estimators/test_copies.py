"""A copy of an estimator holds nothing of the model, and reads whichever model it trains, also inside wrappers."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import SIZE, gradients, make_language_model, make_state, make_text
from tolerances import assert_close, assert_identical
from torch import nn

from sgrnn.contract.modules import method_of
from sgrnn.cores import LSTM
from sgrnn.estimators import GradientEstimator, Mixed, SyntheticGradients
from sgrnn.estimators.schedules import Constant
from sgrnn.synthesizers import MLPSynthesizer

STEPS, WINDOW = 6, 2


class OfTorch(nn.Module):
    """As torch's wrappers: what is inside under one name or the other."""

    def __init__(self, name: str, inner: nn.Module) -> None:
        super().__init__()
        self.add_module(name, inner)
        self.name = name

    def forward(self, *arguments: Any) -> Any:
        return self.get_submodule(self.name)(*arguments)


OfTorch.__module__ = "torch.somewhere"


class OwnWrapper(OfTorch):
    """As a user's, which may do to inputs what it likes before they are read."""


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda model: OfTorch("module", OfTorch("_orig_mod", model))],
    ids=["data parallel", "compiled and distributed"],
)
def test_a_method_is_reached_through_the_wrappers_of_torch(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = make_language_model(LSTM(SIZE, SIZE))
    wrapped = wrap(model)
    assert method_of(wrapped, "input_features") == model.input_features
    assert method_of(wrapped, "nowhere") is None
    estimator = SyntheticGradients(WINDOW, model.synthesizer(3)).double()
    for parameter in estimator.parameters():
        nn.init.normal_(parameter, std=0.3)
    copied = copy.deepcopy(estimator)
    estimator.backward(model, model.loss, make_text(STEPS), make_state(model))
    expected = gradients(model)
    model.zero_grad()
    copied.backward(wrapped, model.loss, make_text(STEPS), make_state(model))
    assert_identical([gradients(model), gradients(copied)], [expected, gradients(estimator)])


def test_a_method_is_not_reached_through_wrappers_of_others() -> None:
    OwnWrapper.__module__ = __name__
    assert method_of(OwnWrapper("module", make_language_model()), "input_features") is None


def by_pickle(estimator: GradientEstimator) -> GradientEstimator:
    return pickle.loads(pickle.dumps(estimator))


def by_file(estimator: GradientEstimator) -> GradientEstimator:
    file = io.BytesIO()
    torch.save(estimator, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    ("copied_by", "kind"),
    [(copy.deepcopy, "synthesizer"), (by_pickle, "mlp_synthesizer"), (by_file, "adjoint_synthesizer")],
)
def test_a_copy_of_an_estimator_holds_nothing_of_the_model_and_trains_another(
    copied_by: Callable[[GradientEstimator], GradientEstimator], kind: str
) -> None:
    model, other = make_language_model(LSTM(SIZE, SIZE)), make_language_model(LSTM(SIZE, SIZE), seed=5)
    synthesizer = getattr(model, kind)(WINDOW)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter, std=0.3)
    estimator = Mixed(SyntheticGradients(WINDOW, synthesizer), Constant(0.5)).double()
    estimator.backward(model, model.loss, make_text(STEPS), make_state(model))
    copied = copied_by(estimator)
    assert b"language_model" not in pickle.dumps(copied)
    of_model = {id(parameter) for parameter in model.parameters()}
    assert not any(id(parameter) in of_model for parameter in copied.parameters())
    assert sum(parameter.numel() for parameter in copied.parameters()) == sum(
        p.numel() for p in synthesizer.parameters()
    )
    results = []
    for one in (estimator, copied):
        other.zero_grad()
        one.zero_grad()
        step = one.backward(other, other.loss, make_text(STEPS), make_state(other))
        results.append([gradients(other), gradients(one), step.metrics])
    assert_close(results[1], results[0])


def test_a_copied_model_is_read_by_the_copied_estimator() -> None:
    model = make_language_model(LSTM(SIZE, SIZE))
    estimator = SyntheticGradients(3, MLPSynthesizer(2 * SIZE, lookahead=1, feature_size=2 * SIZE)).double()
    copied_estimator, copied_model = copy.deepcopy((estimator, model))
    calls = []
    watched: Any = copied_model
    watched.step_features = lambda *steps: calls.append(1) or model.step_features(*steps)
    copied_estimator.backward(copied_model, copied_model.loss, make_text(STEPS), make_state(model))
    estimator.backward(model, model.loss, make_text(STEPS), make_state(model))
    assert calls == [1]
