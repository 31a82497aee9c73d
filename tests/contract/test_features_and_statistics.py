"""A synthesizer trains itself alone, whatever its features lead to, and nothing that is not finite stays with it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, gradients, make_language_model, make_span, make_state, make_text, squared_error
from sgrnn.synthesizers.features import Borrowed
from sgrnn.synthesizers.injection import Shrinkage
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.cores.dropout import Dropout
from sgrnn.estimators import BPTT, ExactAhead, GradientEstimator, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.online import RTRL, BPLambda
from sgrnn.estimators.schedules import Constant
from sgrnn.models.evaluation import evaluate
from sgrnn.models.generation import generate
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.synthesizers import AdjointSynthesizer, ErrorSynthesizer, MLPSynthesizer
from sgrnn.synthesizers.interface import Interface

STEPS = 6


def trained(synthesizer: nn.Module) -> nn.Module:
    """As after some training: predictions that are not zero."""
    torch.manual_seed(1)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return synthesizer


def make_whole(steps: int = STEPS, **options: Any) -> Span:
    whole = make_span(steps + 3, **options)
    return Span(whole.inputs[:steps], whole.targets[:steps], future=Span(whole.inputs[steps:], whole.targets[steps:]))


def error_synthesizer(features: Callable[..., Tensor] = lambda inputs: inputs, **options: Any) -> ErrorSynthesizer:
    return ErrorSynthesizer(2 * SIZE, SIZE, features, SIZE, steps=3, **options)


def estimators(features: Callable[[Tensor], Tensor]) -> dict[str, GradientEstimator]:
    made = {
        "full": BPTT(),
        "truncated": TruncatedBPTT(2),
        "exact": ExactAhead(2, 3),
        "synthetic": SyntheticGradients(2, trained(error_synthesizer(features))),
        "one batch": SyntheticGradients(2, trained(error_synthesizer(features)), parallel=True),
        "trace": SyntheticGradients(2, trained(error_synthesizer(features)), trace_decay=0.5),
        "mixed": Mixed(SyntheticGradients(2, trained(error_synthesizer(features))), Constant(0.5)),
        "adjoint": SyntheticGradients(2, trained(AdjointSynthesizer(2 * SIZE, SIZE, features, SIZE, window=2))),
    }
    return {name: estimator.double() for name, estimator in made.items()}


@pytest.mark.parametrize("name", estimators(lambda inputs: inputs))
def test_an_encoder_before_the_model_learns_as_if_it_were_a_part_of_it(name: str) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.core = nn.Linear(SIZE, SIZE), LSTM(SIZE, SIZE)

        def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
            return self.core(self.encoder(inputs), state)

    torch.manual_seed(0)
    model = Whole().double()
    span, state = make_whole(), make_state(LSTM(SIZE, SIZE).double())
    estimators(lambda inputs: model.encoder(inputs).detach())[name].backward(model, squared_error, span, state)
    expected = gradients(model)
    model.zero_grad()
    assert span.future is not None
    coded = Span(
        model.encoder(span.inputs), span.targets, future=Span(model.encoder(span.future.inputs), span.future.targets)
    )
    estimators(lambda inputs: inputs)[name].backward(model.core, squared_error, coded, state)
    assert_close(gradients(model), expected)


@pytest.mark.parametrize("kind", ["error", "adjoint", "mlp"])
def test_features_of_the_model_are_not_trained_by_the_synthesizer(kind: str) -> None:
    found = []
    for detached in (True, False):
        model = make_language_model(LSTM(SIZE, SIZE))

        def features(inputs: Tensor, *rest: Tensor, model: Any = model, detached: bool = detached) -> Tensor:
            seen = model.embedding(inputs)
            return seen.detach() if detached else seen

        synthesizer: nn.Module = error_synthesizer(features)
        if kind == "adjoint":
            synthesizer = AdjointSynthesizer(2 * SIZE, SIZE, features, SIZE, window=3)
        elif kind == "mlp":
            synthesizer = model.mlp_synthesizer(3, hidden_sizes=(8,))
            assert isinstance(synthesizer, MLPSynthesizer)
            assert synthesizer.encoder is not None
            synthesizer.encoder.features = lambda inputs, targets: torch.cat(
                [features(inputs), features(targets)], dim=-1
            )
        estimator = SyntheticGradients(3, trained(synthesizer)).double()
        estimator.backward(model, model.loss, make_text(STEPS), make_state(model))
        found.append((gradients(model), gradients(estimator)))
    assert_identical(found[0], found[1])
    assert any(gradient.any() for gradient in found[0][1].values())


def test_a_module_of_the_model_as_features_is_refused() -> None:
    model = make_language_model(LSTM(SIZE, SIZE))
    estimator = SyntheticGradients(3, error_synthesizer(model.embedding)).double()
    with pytest.raises(
        ValueError, match=r"features.weight is a parameter of the model.*lambda inputs: model.embedding"
    ):
        estimator.backward(model, model.loss, make_text(STEPS), make_state(model))


def test_what_an_interface_is_told_is_not_trained_by_it() -> None:
    told = nn.Linear(SIZE, SIZE).double()
    known = told(torch.randn(ROWS, SIZE).double())

    class Told(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2 * SIZE, SIZE)

        def forward(self, message: Tensor, known: Any) -> Tensor:
            return self.linear(torch.cat([message, known[0]], dim=1)).unsqueeze(1)

    interface = Interface(Told()).double()
    received, _ = interface(torch.randn(ROWS, SIZE).double(), (known,))
    received.square().sum().backward()
    assert told.weight.grad is None
    assert gradients(interface)["synthesizer.linear.weight"].any()


@pytest.mark.parametrize("make", ["synthesizer", "mlp_synthesizer", "adjoint_synthesizer"])
def test_a_copied_policy_reads_the_model_that_is_trained(make: str) -> None:
    model = make_language_model(LSTM(SIZE, SIZE))
    estimator = SyntheticGradients(3, getattr(model, make)(3)).double()
    alone = copy.deepcopy(estimator)
    copied_policy, copied = copy.deepcopy((estimator, model))
    copied_2, copied_policy_2 = copy.deepcopy((model, estimator))
    for other, one in ((model, alone), (copied, copied_policy), (copied_2, copied_policy_2), (model, estimator)):
        with torch.no_grad():
            other.embedding.weight.add_(1)  # moved on, as by training
        one.backward(other, other.loss, make_text(STEPS), make_state(other))
        readers = [getattr(part, "features", None) for part in one.modules()]
        assert [reader.owner is other for reader in readers if isinstance(reader, Borrowed)] == [True]
    assert sum(isinstance(part, LanguageModel) for part in alone.modules()) == 0


STATISTICS = ("mean_square", "error_square", "updates", "shrinkage.dot", "shrinkage.square")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["inputs", "targets", "future inputs", "future targets", "state"])
@pytest.mark.parametrize("kind", ["synthetic", "one batch", "trace", "mixed", "adjoint"])
def test_a_span_that_is_not_finite_leaves_nothing_behind(kind: str, where: str, bad: float) -> None:
    torch.manual_seed(0)
    core = LSTM(SIZE, SIZE).double()
    estimator = estimators(lambda inputs: inputs)[kind]
    for seed in range(5):
        estimator.backward(core, squared_error, make_whole(seed=seed), make_state(core))
    before = {name: buffer.clone() for name, buffer in estimator.named_buffers()}
    span, state = make_whole(), make_state(core)
    assert span.future is not None
    place = {
        "inputs": span.inputs, "targets": span.targets, "future inputs": span.future.inputs,
        "future targets": span.future.targets, "state": state[0],
    }[where]  # fmt: skip
    place[0, 1, 0] = bad
    core.zero_grad()
    estimator.zero_grad()
    step = estimator.backward(core, squared_error, span, state)
    assert all(gradient.isfinite().all() for gradient in gradients(estimator).values()), (
        "the synthesizer may be stepped"
    )
    if where.startswith("future"):
        assert bool(step.loss.isfinite())
        assert all(gradient.isfinite().all() for gradient in gradients(core).values()), "and so may the model"
    assert all(buffer.isfinite().all() for buffer in estimator.buffers())
    core.zero_grad()
    estimator.zero_grad()
    estimator.backward(core, squared_error, make_whole(seed=7), make_state(core))
    assert all(gradient.isfinite().all() for gradient in (gradients(core) | gradients(estimator)).values())
    assert before.keys() == {name for name, _ in estimator.named_buffers()}


def test_rows_beside_one_that_is_not_finite_have_the_gradients_that_they_had() -> None:
    torch.manual_seed(0)
    core = LSTM(SIZE, SIZE).double()
    found = []
    for value in (1.0, float("nan")):
        estimator = SyntheticGradients(2, trained(error_synthesizer()), shrinkage=False).double()
        span = make_whole()
        assert span.future is not None
        span.inputs.requires_grad_()
        span.future.inputs[0, 2] = value
        estimator.backward(core, squared_error, span, make_state(core))
        assert span.inputs.grad is not None
        found.append(span.inputs.grad)
    assert_identical(found[1][:, :2], found[0][:, :2])
    assert_identical(found[1][:2, 2], found[0][:2, 2])  # the third row's first boundary does not see that far
    assert found[1][2:, 2].isfinite().all()
    assert not torch.equal(found[1][2:, 2], found[0][2:, 2])


def test_padding_that_is_not_a_number_does_no_harm_beyond_the_end_of_a_sequence() -> None:
    torch.manual_seed(0)
    core = LSTM(SIZE, SIZE).double()
    results = []
    for padding in (0.0, float("nan")):
        estimator = SyntheticGradients(3, trained(error_synthesizer()), shrinkage=False).double()
        span = make_whole()
        assert span.future is not None
        span.future.inputs[1:] = padding
        span.future.targets[1:] = padding
        is_first = torch.zeros(3, ROWS, dtype=torch.bool)
        is_first[1] = True
        future = Span(span.future.inputs, span.future.targets, is_first)
        core.zero_grad()
        estimator.backward(core, squared_error, Span(span.inputs, span.targets, future=future), make_state(core))
        results.append((gradients(core), gradients(estimator)))
    assert_close(results[1], results[0])


def test_online_policies_get_rid_of_what_is_not_finite() -> None:
    core = LSTM(SIZE, SIZE).double()
    for estimator in (RTRL(), BPLambda(2 * SIZE, learning_rate=0.1, trace_decay=0.9)):
        estimator.double()
        span = make_span(4)
        span.inputs[2, 1, 0] = float("nan")
        estimator.backward(core, squared_error, span, make_state(core))
        core.zero_grad()
        estimator.backward(core, squared_error, make_span(4), make_state(core))
        assert all(gradient.isfinite().all() for gradient in gradients(core).values())
        assert all(buffer.isfinite().all() for buffer in estimator.buffers())


def test_an_interface_learns_nothing_of_rows_that_are_not_finite() -> None:
    interface = Interface(MLPSynthesizer(SIZE, (4,))).double()
    sender = nn.Linear(SIZE, SIZE).double()
    for bad in (None, "message", "answer", None):
        inputs = torch.randn(ROWS, SIZE).double()
        if bad == "message":
            inputs[1] = float("nan")
        interface.zero_grad()
        sender.zero_grad()
        received, reply = interface(sender(inputs))
        reply.backward()
        factor = torch.ones(ROWS, 1).double()
        if bad == "answer":
            factor[1] = float("nan")
        (received.square() * factor).sum().backward()
        assert all(gradient.isfinite().all() for gradient in gradients(interface).values())
        assert all(buffer.isfinite().all() for buffer in interface.buffers())
    assert all(gradient.isfinite().all() for gradient in gradients(sender).values())


def test_a_gate_takes_in_no_infinity() -> None:
    gate = Shrinkage(0.5)
    gate.update(torch.tensor(1.0), torch.tensor(2.0))
    for bad in (float("nan"), float("inf")):
        gate.update(torch.tensor(bad), torch.tensor(1.0))
        gate.update(torch.tensor(1.0), torch.tensor(bad))
    assert gate() == 0.5


# A gradient below 6e-8 is 0 in float16, whoever computes it.
@pytest.mark.parametrize(
    ("precision", "scale"),
    [(torch.float16, 1.0), (torch.float16, 1e3), (torch.bfloat16, 1e-4), (torch.bfloat16, 1.0), (torch.bfloat16, 1e8)],
)
def test_half_precision_spoils_no_statistics(precision: torch.dtype, scale: float) -> None:
    metrics, gates = [], []
    for dtype in (torch.float32, precision):
        torch.manual_seed(0)
        core = nn.GRU(SIZE, 32).to(dtype)
        synthesizer = ErrorSynthesizer(32, 32, lambda inputs: inputs, SIZE, steps=3)
        estimator = SyntheticGradients(3, trained(synthesizer), remove_radial=False).to(dtype)
        generator = torch.Generator().manual_seed(3)
        step = None
        for _ in range(3):
            x, y = torch.randn(9, 64, SIZE, generator=generator), torch.randn(9, 64, 32, generator=generator)
            span = Span(x[:6].to(dtype), y[:6].to(dtype), future=Span(x[6:].to(dtype), y[6:].to(dtype)))
            step = estimator.backward(
                core, lambda o, t: (o - t).square().mean(-1) * scale, span, torch.zeros(1, 64, 32, dtype=dtype)
            )
        assert step is not None
        assert all(figure.isfinite() for figure in step.metrics.values())
        assert {estimator.get_buffer(name).dtype for name in STATISTICS} == {torch.float32}
        assert step.state.dtype == dtype
        metrics.append(step.metrics)
        gates.append(estimator.shrinkage())
    assert float(metrics[1]["target_rms"]) == pytest.approx(float(metrics[0]["target_rms"]), rel=0.1)
    assert float(metrics[1]["target_cosine"]) == pytest.approx(float(metrics[0]["target_cosine"]), abs=0.1)


@pytest.mark.parametrize("own", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["synthesizer", "adjoint_synthesizer", "mlp_synthesizer"])
def test_a_synthesizer_works_in_its_own_precision(kind: str, own: torch.dtype) -> None:
    other = torch.float32 if own == torch.float64 else torch.float64
    model = make_language_model(LSTM(SIZE, SIZE), dtype=other)
    estimator = SyntheticGradients(3, trained(getattr(model, kind)(3))).to(own)
    step = estimator.backward(model, model.loss, make_text(STEPS), make_state(model))
    assert all(gradient.dtype == other for gradient in gradients(model).values())
    assert all(gradient.dtype == own and gradient.isfinite().all() for gradient in gradients(estimator).values())
    assert step.state[0].dtype == other
    reference = make_language_model(LSTM(SIZE, SIZE), dtype=other)
    same = SyntheticGradients(3, trained(getattr(reference, kind)(3))).to(other)
    same.backward(reference, reference.loss, make_text(STEPS), make_state(reference))
    assert_close(gradients(model), gradients(reference), torch.float32)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("kind", ["truncated", "exact", "synthesizer", "adjoint_synthesizer", "mlp_synthesizer"])
def test_under_autocast_states_and_synthesizers_stay_in_float32(kind: str, inside: bool) -> None:
    class Inside(LanguageModel):
        def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(inputs, state)

    results = []
    for low in (False, True):
        torch.manual_seed(0)
        model = (Inside if low and inside else LanguageModel)(20, 8, LSTM(8, 8), 8)
        estimator: GradientEstimator
        if kind in ("truncated", "exact"):
            estimator = TruncatedBPTT(3) if kind == "truncated" else ExactAhead(3, 3)
        else:
            estimator = SyntheticGradients(3, trained(getattr(model, kind)(3)))
        tokens = torch.randint(0, 20, (10, 4), generator=torch.Generator().manual_seed(2))
        span = Span(tokens[:6], tokens[1:7], future=Span(tokens[6:9], tokens[7:10]))
        state = model.initial_state(4)
        step = None
        for _ in range(2):
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=low and not inside):
                step = estimator.backward(model, model.loss, span, state)
            state = step.state
        assert step is not None
        assert all(part.dtype == torch.float32 for part in state)
        assert step.loss.dtype == torch.float32
        results.append(torch.cat([gradient.flatten() for gradient in gradients(model).values()]))
    assert float(torch.cosine_similarity(results[0], results[1], dim=0)) > 0.99


class Normalized(nn.Module):
    """Takes statistics over its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.core = nn.BatchNorm1d(SIZE), nn.GRU(SIZE, SIZE)

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.core(self.norm(inputs.flatten(0, 1)).view_as(inputs), state)


class Averaging(nn.Module):
    """Keeps a mean of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(SIZE, SIZE)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.mean = self.mean + inputs.detach().sum()
        return self.core(inputs, state)


@pytest.mark.parametrize(
    ("make", "estimator"),
    [
        (Normalized, TruncatedBPTT(2)),
        (Normalized, TruncatedBPTT(2, parallel=None)),
        (
            Normalized,
            SyntheticGradients(2, ErrorSynthesizer(SIZE, SIZE, lambda inputs: inputs, SIZE, steps=3)).double(),
        ),
        (Averaging, TruncatedBPTT(2)),
        (Averaging, TruncatedBPTT(2, parallel=None)),
        (Averaging, SyntheticGradients(2, ErrorSynthesizer(SIZE, SIZE, lambda inputs: inputs, SIZE, steps=3)).double()),
        (Averaging, ExactAhead(2, 3)),
    ],
)
def test_batch_statistics_are_taken_in_once(make: type[nn.Module], estimator: GradientEstimator) -> None:
    model, plain = make().double(), make().double()
    plain.load_state_dict(model.state_dict())
    span, state = make_whole(), torch.zeros(1, ROWS, SIZE).double()
    estimator.backward(model, squared_error, span, state)
    for start in range(0, STEPS, 2):
        _, state = plain(span.inputs[start : start + 2], state)
    assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))


@pytest.mark.parametrize(
    ("make", "message"),
    [(Normalized, "norm takes them: parallel must be False"), (Averaging, "changes its buffer mean when it runs")],
)
def test_windows_as_one_batch_are_refused_where_they_would_change_statistics(
    make: type[nn.Module], message: str
) -> None:
    model = make().double()
    before = copy.deepcopy(dict(model.named_buffers()))
    with pytest.raises(ValueError, match=message):
        TruncatedBPTT(2, parallel=True).backward(
            model, squared_error, make_whole(), torch.zeros(1, ROWS, SIZE).double()
        )
    assert_identical(dict(model.named_buffers()), before)


def make_mixed_modes() -> tuple[LanguageModel, dict[str, bool]]:
    model = make_language_model(LSTM(SIZE, SIZE, 2, dropout=0.2), dropout=0.2)
    model.train()
    model.core.eval()  # held fixed by its owner
    return model, {name: module.training for name, module in model.named_modules()}


def test_evaluation_and_generation_leave_every_module_in_its_mode() -> None:
    model, modes = make_mixed_modes()

    def now() -> dict[str, bool]:
        return {name: module.training for name, module in model.named_modules()}

    evaluate(model, torch.tensor([1, 2, 3, 4]), 0, batch_size=2)
    assert now() == modes
    drawing = generate(model, [0], 5, seed=0)
    first = next(drawing)
    assert now() == modes, "also between two tokens, and where it is abandoned"
    assert [first, *drawing] == list(generate(model, [0], 5, seed=0))
    with pytest.raises(IndexError):
        list(generate(model, [10**6], 1))
    assert now() == modes
    assert isinstance(model.dropout, Dropout)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state_size": 5}, r"predict for the 6 features of a row of the model's state .* got one for 5"),
        ({"error_size": 4}, "error_size must be 3, the features of the model's outputs at a step, got 4"),
        ({"feature_size": 2}, r"features must give \(steps, rows, 2\), as feature_size says, got \(2, 9, 3\)"),
    ],
)
@pytest.mark.parametrize("kind", [ErrorSynthesizer, AdjointSynthesizer])
def test_a_synthesizer_of_other_sizes_is_refused(kind: Any, options: dict[str, int], message: str) -> None:
    sizes = {"state_size": 2 * SIZE, "error_size": SIZE, "feature_size": SIZE} | options
    steps = {"window": 2} if kind is AdjointSynthesizer else {"steps": 2}
    estimator = SyntheticGradients(2, kind(features=lambda inputs: inputs, aligned_size=0, **sizes, **steps)).double()
    core = LSTM(SIZE, SIZE).double()
    with pytest.raises(ValueError, match=message):
        estimator.backward(core, squared_error, make_whole(4), make_state(core))


def test_predictions_of_another_shape_are_refused() -> None:
    class Flat(nn.Module):
        def forward(self, state: Any, lookahead: Any) -> Tensor:
            return state[0][0]

    core = LSTM(SIZE, SIZE).double()
    with pytest.raises(ValueError, match=r"synthesizer must give \(rows, heads, features\), here \(12, ..., 6\), got"):
        SyntheticGradients(2, Flat()).backward(core, squared_error, make_whole(), make_state(core))


@pytest.mark.parametrize(
    ("inputs", "state", "message"),
    [
        ((4, ROWS, 4), (1, ROWS, SIZE), r"inputs must be \(time, batch, 3\), got \(4, 3, 4\)"),
        ((4, ROWS), (1, ROWS, SIZE), r"inputs must be \(time, batch, 3\), got \(4, 3\)"),
        ((1, ROWS, SIZE), (2, ROWS, SIZE), r"state must be \(1, 3, 3\), \(layers, batch, hidden\), got \(2, 3, 3\)"),
        ((4, ROWS, SIZE), (1, ROWS, 5), r"state must be \(1, 3, 3\)"),
    ],
)
def test_a_core_names_the_sizes_it_was_made_for(inputs: Any, state: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSTM(SIZE, SIZE)(torch.zeros(inputs), (torch.zeros(state),) * 2)
