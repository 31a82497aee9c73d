"""A copy of an estimator is one for the same model or for its copy; models are read also inside wrappers."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    gradients,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    squared_error,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.contract.modules import method_of
from sgrnn.cores import LSTM
from sgrnn.estimators import BPTT, GradientEstimator, Mixed, SyntheticGradients
from sgrnn.estimators.online import RTRL
from sgrnn.estimators.schedules import Constant
from sgrnn.models.language_model import LanguageModel

STEPS, WINDOW = 6, 2


class Wrapper(nn.Module):
    """Hands on what is inside, under one name or the other."""

    def __init__(self, name: str, inner: nn.Module) -> None:
        super().__init__()
        self.add_module(name, inner)
        self.name = name

    def forward(self, *arguments: Any) -> Any:
        return self.get_submodule(self.name)(*arguments)


class DistributedDataParallel(Wrapper):
    """Of the name of torch's, which needs several processes."""


class OptimizedModule(Wrapper):
    """Of the name of what torch compiles."""


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda model: DistributedDataParallel("module", OptimizedModule("_orig_mod", model))],
    ids=["data parallel", "compiled and distributed"],
)
def test_a_method_is_reached_through_the_wrappers_of_torch(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = make_language_model(LSTM(SIZE, SIZE))
    wrapped = wrap(model)
    assert method_of(wrapped, "input_features") == model.input_features
    assert method_of(wrapped, "nowhere") is None
    estimator = SyntheticGradients(model, model.loss, WINDOW, synthesizer=model.synthesizer(3)).double()
    for parameter in estimator.parameters():
        nn.init.normal_(parameter, std=0.3)
    synthesizer = copy.deepcopy(estimator.synthesizer)
    of_wrapped = SyntheticGradients(wrapped, model.loss, WINDOW, synthesizer=synthesizer).double()
    estimator.backward(make_text(STEPS), make_state(model))
    expected = gradients(model)
    model.zero_grad()
    of_wrapped.backward(make_text(STEPS), make_state(model))
    assert_identical([gradients(model), gradients(of_wrapped)], [expected, gradients(estimator)])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda model, loss: SyntheticGradients(model, loss, WINDOW, trace_decay=0.5), "several backward passes"),
        (lambda model, loss: Mixed(SyntheticGradients(model, loss, WINDOW), Constant(0.5)), "several backward passes"),
        (lambda model, loss: SyntheticGradients(model, loss, WINDOW, low_memory=True), "with low_memory"),
        (RTRL, "row by row"),
    ],
    ids=["trace decay", "mixed", "low memory", "online"],
)
def test_what_ddp_would_not_average_is_refused(make: Callable[..., GradientEstimator], reason: str) -> None:
    """torch averages the gradients of one backward pass through what ran since the last."""
    core, span = make_core("nn.GRU-1"), make_span(STEPS, is_last=torch.ones(ROWS, dtype=torch.bool))
    make(core, squared_error).backward(span)
    with pytest.raises(ValueError, match=f"{reason}.*hand over the module inside DistributedDataParallel"):
        make(DistributedDataParallel("module", core), squared_error).backward(span)


def test_a_method_is_not_reached_through_wrappers_of_others() -> None:
    """Which may do to inputs what they like before these are read."""
    assert method_of(Wrapper("module", make_language_model()), "input_features") is None


def by_pickle(estimator: Mixed) -> Mixed:
    return pickle.loads(pickle.dumps(estimator))


def by_file(estimator: Mixed) -> Mixed:
    file = io.BytesIO()
    torch.save(estimator, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def make_estimator(kind: str = "synthesizer") -> tuple[LanguageModel, Mixed]:
    model = make_language_model(LSTM(SIZE, SIZE))
    synthesizer = getattr(model, kind)(WINDOW)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model, Mixed(SyntheticGradients(model, model.loss, WINDOW, synthesizer=synthesizer), Constant(0.5)).double()


def models_of(estimator: Mixed) -> set[int]:
    """Of an estimator and its parts, the models and those of which their losses are methods."""
    holders: Any = (estimator, estimator.synthetic, estimator.real)
    return {id(one) for holder in holders for one in (holder.model, holder.loss.__self__)}


@pytest.mark.parametrize(
    ("copied_by", "kind"),
    [(copy.deepcopy, "synthesizer"), (by_pickle, "mlp_synthesizer"), (by_file, "adjoint_synthesizer")],
)
def test_a_copy_of_an_estimator_is_one_for_the_same_model_and_saved_with_it(
    copied_by: Callable[[Mixed], Mixed], kind: str
) -> None:
    model, estimator = make_estimator(kind)
    estimator.backward(make_text(STEPS), make_state(model))
    copied = copied_by(estimator)
    assert models_of(copied) == {id(copied.model)}
    assert (copied.model is model) is (copied_by is copy.deepcopy)
    assert not {*map(id, copied.parameters())} & {*map(id, [*model.parameters(), *estimator.parameters()])}
    assert {*copied.state_dict()} == {
        "_extra_state",
        *(f"synthetic.{name}" for name in estimator.synthetic.state_dict()),
    }
    results = []
    for one in (estimator, copied):
        one.model.zero_grad()
        one.zero_grad()
        step = one.backward(make_text(STEPS), make_state(model))
        results.append([gradients(one.model), gradients(one), step.metrics])
    assert_close(results[1], results[0])


def test_copied_with_its_model_it_is_one_for_the_copy() -> None:
    model, estimator = make_estimator()
    copied_model, copied_estimator = copy.deepcopy((model, estimator))
    assert copied_model is not model
    assert models_of(copied_estimator) == {id(copied_model)}
    copied_estimator.backward(make_text(STEPS), make_state(model))
    assert all(gradient.any() for gradient in gradients(copied_model).values())
    assert not any(gradient.any() for gradient in gradients(model).values())


class Weighted(nn.Module):
    """A loss that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(SIZE))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs - targets).square() * self.weight).sum(dim=-1)


def test_a_loss_that_learns_is_shared_or_copied_as_the_model_is_and_neither_is_kept_from_being_copied_later() -> None:
    whole = nn.ModuleDict({"core": LSTM(SIZE, SIZE), "loss": Weighted()})
    estimator = BPTT(whole["core"], whole["loss"])
    alone = copy.deepcopy(estimator)
    assert (alone.model, alone.loss) == (whole["core"], whole["loss"])
    copied_whole, copied = copy.deepcopy((whole, estimator))
    assert (copied.model, copied.loss) == (copied_whole["core"], copied_whole["loss"])
    copied, copied_whole = copy.deepcopy((estimator, whole))
    assert (copied.model, copied.loss) == (whole["core"], whole["loss"])
    assert copied_whole["core"] is not whole["core"]
    assert copied_whole["loss"] is not whole["loss"]
