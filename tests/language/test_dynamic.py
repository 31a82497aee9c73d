"""Dynamic evaluation: equal to plain PyTorch, and no token learned from before it is scored."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import SIZE, VOCABULARY, make_core, make_language_model
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.errors import InputError
from sgrnn.models.dynamic import DynamicEvaluation, dynamic_nats, gradient_rms
from sgrnn.models.evaluation import over_tokens, token_nats
from sgrnn.models.language_model import LanguageModel

FIRST, TOKENS, WINDOW = 3, 23, 5
SETTINGS = {"SGD": DynamicEvaluation(0.3, 0.05, WINDOW), "RMS": DynamicEvaluation(0.02, 0.05, WINDOW)}
MODELS: dict[str, Callable[[], LanguageModel]] = {
    "LSTM": make_language_model,
    "tied": lambda: make_language_model(tied=True),
    "dropout": lambda: make_language_model(dropout=0.5),
    "hierarchy": lambda: make_language_model(make_core("hierarchy 1, 4")),
    "own core": lambda: make_language_model(make_core("own")),
    "torch's LSTM": lambda: make_language_model(nn.LSTM(SIZE, SIZE, 2, dropout=0.3)),
}


def make_tokens(count: int = TOKENS, seed: int = 4) -> Tensor:
    return torch.randint(VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed))


def settings_for(form: str, model: LanguageModel) -> DynamicEvaluation:
    if form == "SGD":
        return SETTINGS[form]
    return replace(SETTINGS[form], rms=gradient_rms(model, make_tokens(60, seed=7), FIRST, window=WINDOW, batch_size=3))


def gradient_of(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


class Plain(nn.Module):
    """An LSTM of one layer, as PyTorch's pages write it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(VOCABULARY, SIZE), nn.LSTM(SIZE, SIZE)
        self.output = nn.Linear(SIZE, VOCABULARY)

    def losses(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        hidden, state = self.lstm(self.embedding(inputs), state)
        losses = F.cross_entropy(self.output(hidden).flatten(0, 1), targets.flatten(), reduction="none")
        return losses, tuple(part.detach() for part in state)


def by_hand(plain: Plain, train: Tensor, tokens: Tensor, rate: float, decay: float, epsilon: float | None) -> Tensor:
    """The paper's algorithm; epsilon is None for the SGD form. The train text is read in three rows."""
    parameters = list(plain.parameters())
    trained = [parameter.detach().clone() for parameter in parameters]
    squares, windows, state = [torch.zeros_like(each) for each in trained], 0, None
    rows = train.view(3, -1).t()
    before = torch.cat([torch.tensor([FIRST]), train[:-1]]).view(3, -1).t()
    for read, target in zip(before.split(WINDOW), rows.split(WINDOW), strict=True):
        plain.zero_grad()
        losses, state = plain.losses(read, target, state)
        losses.mean().backward()
        for square, parameter in zip(squares, parameters, strict=True):
            square += gradient_of(parameter) ** 2
        windows += 1
    rms = [(square / windows).sqrt() for square in squares]
    mean = sum(each.mean() for each in rms) / len(rms)
    found, state = [], None
    read_before = torch.cat([torch.tensor([FIRST]), tokens[:-1]])
    for read, target in zip(read_before.split(WINDOW), tokens.split(WINDOW), strict=True):
        plain.zero_grad()
        losses, state = plain.losses(read.unsqueeze(1), target.unsqueeze(1), state)
        losses.mean().backward()
        found.append(losses.detach())
        with torch.no_grad():
            for parameter, home, each in zip(parameters, trained, rms, strict=True):
                away = home - parameter
                if epsilon is None:
                    parameter += decay * away - rate * gradient_of(parameter)
                else:
                    pull = (each / mean).clamp(max=1 / decay)
                    parameter += decay * pull * away - rate * gradient_of(parameter) / (each + epsilon)
    return torch.cat(found)


@pytest.mark.parametrize(("form", "decay"), [("SGD", 0.05), ("RMS", 0.05), ("RMS", 0.9)])
def test_losses_are_those_of_the_algorithm_in_plain_pytorch(form: str, decay: float) -> None:
    model = make_language_model(nn.LSTM(SIZE, SIZE))
    plain = Plain().double()
    plain.load_state_dict({name.replace("core.", "lstm."): value for name, value in model.state_dict().items()})
    train, tokens, rate = make_tokens(60, seed=7), make_tokens(), SETTINGS[form].learning_rate
    rms = gradient_rms(model, train, FIRST, window=WINDOW, batch_size=3) if form == "RMS" else None
    settings = DynamicEvaluation(rate, decay, WINDOW, rms, epsilon=1e-3)
    expected = by_hand(plain, train, tokens, rate, decay, None if rms is None else 1e-3)
    found, _ = dynamic_nats(model, tokens, FIRST, settings)
    assert_close(found, expected)
    assert (found - token_nats(model, tokens, FIRST))[WINDOW:].abs().min() > 1e-6, "it makes a difference"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", SETTINGS)
def test_with_a_learning_rate_that_vanishes_it_is_plain_evaluation(form: str, name: str) -> None:
    model, tokens = MODELS[name](), make_tokens()
    settings = replace(settings_for(form, model), learning_rate=1e-300)
    expected = over_tokens(model, tokens, FIRST, lambda outputs, targets: (model.loss(outputs, targets), outputs))
    assert_close(dynamic_nats(model, tokens, FIRST, settings), expected)


@pytest.mark.parametrize("form", SETTINGS)
def test_no_token_is_learned_from_before_it_is_scored(form: str) -> None:
    """Another token changes no score before its own, and all from its own on."""
    model, tokens = make_language_model(), make_tokens()
    settings = settings_for(form, model)
    expected, _ = dynamic_nats(model, tokens, FIRST, settings)
    for changed in (0, 4, 5, 7, TOKENS - 1):
        others = tokens.clone()
        others[changed] = (others[changed] + 1) % VOCABULARY
        found, _ = dynamic_nats(model, others, FIRST, settings)
        assert_identical(found[:changed], expected[:changed])
        assert (found != expected)[changed:].all()
    plain = token_nats(model, tokens, FIRST)
    assert_close(expected[:WINDOW], plain[:WINDOW])
    assert ((expected - plain)[WINDOW:].abs() > 1e-9).all(), "learned from the first window on"


@pytest.mark.parametrize("name", MODELS)
def test_the_model_stands_afterwards_as_before(name: str) -> None:
    model, tokens = MODELS[name]().train(), make_tokens()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    settings = settings_for("RMS", model)
    first, _ = dynamic_nats(model, tokens, FIRST, settings)
    assert_identical(dict(model.state_dict()), before)
    assert_identical(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert_identical(dynamic_nats(model, tokens, FIRST, settings)[0], first)


def test_a_text_that_repeats_itself_is_learned() -> None:
    model, tokens = make_language_model(), make_tokens(4).repeat(30)
    for form, rate in (("SGD", 0.5), ("RMS", 0.05)):
        found, _ = dynamic_nats(model, tokens, FIRST, replace(settings_for(form, model), learning_rate=rate, decay=0.0))
        assert found[-20:].mean() < 0.75 * found[:20].mean()


@pytest.mark.parametrize("form", SETTINGS)
def test_a_sequence_of_its_own_is_scored_as_if_there_were_no_other(form: str) -> None:
    model, tokens = make_language_model(), make_tokens()
    begins = torch.zeros(TOKENS, dtype=torch.bool)
    begins[[0, 7, 20]] = True
    settings = settings_for(form, model)
    found, outputs = dynamic_nats(model, tokens, FIRST, settings, begins=begins)
    for start, end in ((0, 7), (7, 20), (20, TOKENS)):
        read = FIRST if start == 0 else int(tokens[start - 1])
        alone, alone_outputs = dynamic_nats(model, tokens[start:end], read, settings)
        assert_identical((found[start:end], outputs[start:end]), (alone, alone_outputs))


def test_the_mean_square_is_over_windows_of_all_rows_and_sequences_begin_in_them() -> None:
    model, tokens = make_language_model(), make_tokens(3 * 7 + 2)
    begins = torch.zeros(len(tokens), dtype=torch.bool)
    begins[[2, 7 + 5, 14 + 5]] = True
    found = gradient_rms(model, tokens, FIRST, window=5, begins=begins, batch_size=3)
    learning = list(model.parameters())
    squares = [torch.zeros_like(each) for each in learning]
    state = None
    for start, end in ((0, 5), (5, 7)):
        model.zero_grad()
        total, after = torch.tensor(0.0), []
        for row in range(3):
            own = model.initial_state(1) if state is None else state[row]
            for step in range(start, end):
                at = 7 * row + step
                own = model.initial_state(1) if begins[at] else own
                read = tokens[at - 1] if at else torch.tensor(FIRST)
                outputs, own = model(read.view(1, 1), own)
                total = total + model.loss(outputs, tokens[at].view(1, 1)).sum() / (3 * (end - start))
            after.append([tuple(part.detach() for part in layer) for layer in own] if isinstance(own, list) else tuple(
                part.detach() for part in own))  # fmt: skip
        state = after
        total.backward()
        for square, parameter in zip(squares, learning, strict=True):
            square += gradient_of(parameter) ** 2 / 2
    model.zero_grad()
    assert_close(found, [square.sqrt() for square in squares])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0, got -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, got nan"),
        ({"decay": 1.0}, "decay must be at least 0 and below 1, got 1.0"),
        ({"decay": -0.1}, "decay must be at least 0 and below 1, got -0.1"),
        ({"window": 0}, "window must be at least 1 step, got 0"),
        ({"epsilon": 0.0}, "epsilon must be above 0, got 0.0"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        DynamicEvaluation(**options)


def test_the_gradients_of_another_model_are_refused() -> None:
    other = gradient_rms(make_language_model(nn.GRU(SIZE, SIZE)), make_tokens(), FIRST)
    with pytest.raises(
        ValueError, match=r"^rms must be of this model's gradients, as gradient_rms gives it, got that "
    ):
        dynamic_nats(make_language_model(), make_tokens(), FIRST, DynamicEvaluation(rms=other))
    with pytest.raises(ValueError, match=r"^tokens must be at least 1, got 0$"):
        gradient_rms(make_language_model(), make_tokens(0), FIRST)
    with pytest.raises(ValueError, match=r"^tokens must be at least 1, got 0$"):
        dynamic_nats(make_language_model(), make_tokens(0), FIRST, DynamicEvaluation())


def test_it_learns_where_its_caller_wants_no_graphs_and_not_where_nothing_can() -> None:
    model, tokens = make_language_model(), make_tokens()
    expected = dynamic_nats(model, tokens, FIRST, DynamicEvaluation())[0]
    with torch.no_grad():
        assert torch.equal(dynamic_nats(model, tokens, FIRST, DynamicEvaluation())[0], expected)
        assert len(gradient_rms(model, tokens, FIRST)) == len(list(model.parameters()))
    model.requires_grad_(False)
    for call in (
        lambda: dynamic_nats(model, tokens, FIRST, DynamicEvaluation()),
        lambda: gradient_rms(model, tokens, 0),
    ):
        with pytest.raises(InputError, match=r"^dynamic evaluation needs parameters that require a gradient, got a "):
            call()
