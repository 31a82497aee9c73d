"""States, synthesizers and running means keep their precision, whatever the core's and autocast are."""

from typing import Any

import pytest
import torch
from models import SIZE, gradients, make_language_model, make_state, make_text, squared_error
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.estimators import Delayed, ExactAhead, GradientEstimator, SyntheticGradients
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.synthesizers import ErrorSynthesizer


def trained(synthesizer: Any) -> Any:
    """As after some training: predictions that are not zero."""
    torch.manual_seed(1)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return synthesizer


# A gradient below 6e-8 is 0 in float16, whoever computes it.
@pytest.mark.parametrize(("precision", "scale"), [(torch.float16, 1e3), (torch.bfloat16, 1e8)])
def test_half_precision_spoils_no_running_mean(precision: torch.dtype, scale: float) -> None:
    metrics = []
    for dtype in (torch.float32, precision):
        torch.manual_seed(0)
        core = nn.GRU(SIZE, 32).to(dtype)
        synthesizer = trained(ErrorSynthesizer(32, 32, SIZE, lookahead=3))
        estimator = SyntheticGradients(
            core, lambda outputs, targets: (outputs - targets).square().mean(-1) * scale, 3,
            synthesizer=synthesizer, remove_radial=False,
        ).to(dtype)  # fmt: skip
        generator = torch.Generator().manual_seed(3)
        step = None
        for _ in range(3):
            inputs, targets = (torch.randn(9, 64, size, generator=generator).to(dtype) for size in (SIZE, 32))
            step = estimator.backward(Span(inputs, targets).slice(0, 6), torch.zeros(1, 64, 32, dtype=dtype))
        assert step is not None
        assert all(metric.isfinite() for metric in step.metrics.values())
        assert [(name, buffer.dtype) for name, buffer in estimator.named_buffers()] == [
            (f"{name}", torch.float32)
            for name in (
                "predictor.mean_square", "predictor.updates", "predictor.shrinkage.dot", "predictor.shrinkage.square",
                "predictor.shrinkage.power", "reader.output_square",
            )
        ]  # fmt: skip
        assert step.state.dtype == dtype
        metrics.append(step.metrics)
    assert float(metrics[1]["target_rms"]) == pytest.approx(float(metrics[0]["target_rms"]), rel=0.1)
    assert float(metrics[1]["target_cosine"]) == pytest.approx(float(metrics[0]["target_cosine"]), abs=0.1)


def test_a_default_precision_of_half_is_none_for_running_means() -> None:
    torch.set_default_dtype(torch.bfloat16)
    try:
        estimator = Delayed(SyntheticGradients(nn.GRU(SIZE, SIZE), squared_error, 2))
    finally:
        torch.set_default_dtype(torch.float32)
    numbers = {name: buffer.dtype for name, buffer in estimator.named_buffers() if buffer.numel()}
    assert len(numbers) == 7
    assert set(numbers.values()) == {torch.float32}


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("synthesizer", torch.float64), ("adjoint_synthesizer", torch.float32), ("adjoint_synthesizer", torch.float64),
        ("mlp_synthesizer", torch.float64),
    ],
)  # fmt: skip
def test_a_synthesizer_works_in_its_own_precision(kind: str, own: torch.dtype) -> None:
    other = torch.float32 if own == torch.float64 else torch.float64
    model = make_language_model(LSTM(SIZE, SIZE), dtype=other)
    estimator = SyntheticGradients(model, model.loss, 3, synthesizer=trained(getattr(model, kind)(3))).to(own)
    step = estimator.backward(make_text(6), make_state(model))
    assert all(gradient.dtype == other for gradient in gradients(model).values())
    assert all(gradient.dtype == own and gradient.isfinite().all() for gradient in gradients(estimator).values())
    assert step.state[0].dtype == other
    reference = make_language_model(LSTM(SIZE, SIZE), dtype=other)
    same = SyntheticGradients(reference, reference.loss, 3, synthesizer=trained(getattr(reference, kind)(3))).to(other)
    same.backward(make_text(6), make_state(reference))
    assert_close(gradients(model), gradients(reference), torch.float32)


@pytest.mark.parametrize("kind", ["synthesizer", "adjoint_synthesizer", "mlp_synthesizer", "diagonal_synthesizer"])
def test_a_synthesizer_may_work_in_half_precision(kind: str) -> None:
    model = make_language_model(LSTM(SIZE, SIZE), dtype=torch.float32)
    synthesizer = trained(getattr(model, kind)(3))
    estimator = SyntheticGradients(model, model.loss, 3, synthesizer=synthesizer).bfloat16()
    estimator.backward(make_text(6), make_state(model))
    assert all(gradient.isfinite().all() for gradient in gradients(model).values())
    found = gradients(estimator).values()
    assert all(gradient.dtype == torch.bfloat16 and gradient.isfinite().all() for gradient in found)
    assert any(gradient.any() for gradient in found)


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ("exact", True),
        ("synthesizer", False),
        ("adjoint_synthesizer", True),
        ("mlp_synthesizer", False),
    ],
)
def test_under_autocast_states_and_synthesizers_stay_in_float32(kind: str, inside: bool) -> None:
    class Inside(LanguageModel):
        def forward(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(inputs, state)

    results = []
    for low in (False, True):
        torch.manual_seed(0)
        model = (Inside if low and inside else LanguageModel)(20, 8, LSTM(8, 8), 8)
        estimator: GradientEstimator
        if kind == "exact":
            estimator = ExactAhead(model, model.loss, 3, 3)
        else:
            estimator = SyntheticGradients(model, model.loss, 3, synthesizer=trained(getattr(model, kind)(3)))
        tokens = torch.randint(0, 20, (10, 4), generator=torch.Generator().manual_seed(2))
        span = Span(tokens[:-1], tokens[1:]).slice(0, 6)
        state = model.initial_state(4)
        step = None
        for _ in range(2):
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=low and not inside):
                step = estimator.backward(span, state)
            state = step.state
        assert step is not None
        assert all(part.dtype == torch.float32 for part in state)
        assert step.loss.dtype == torch.float32
        results.append(torch.cat([gradient.flatten() for gradient in gradients(model).values()]))
    assert float(torch.cosine_similarity(results[0], results[1], dim=0)) > 0.99
