"""Scale, shrinkage and regression of predicted gradients follow their definitions."""

from typing import Any

import pytest
import torch
from models import Table
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.synthesizers import Boundaries, GradientPredictor, Shrinkage

ROWS, FEATURES = 5, 4
MASKS = [None, torch.tensor([True, False, True, True, False]), torch.zeros(ROWS, dtype=torch.bool), None]


def draw(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (ROWS, FEATURES)), dtype=torch.float64, generator=generator)


def shrinkage_after(*updates: tuple[float, float, float], ema_decay: float = 0.9) -> Shrinkage:
    shrinkage = Shrinkage(ema_decay).double()
    for update in updates:
        shrinkage.update(*(torch.tensor(value, dtype=torch.float64) for value in update))
    return shrinkage


def test_shrinkage_is_the_best_factor_of_a_prediction_kept_between_0_and_1() -> None:
    assert shrinkage_after()().item() == 0
    assert shrinkage_after((0.0, 0.0, 0.0))().item() == 0
    for dot, square, alpha in [(1.0, 4.0, 0.25), (4.0, 4.0, 1.0), (9.0, 4.0, 1.0), (-1.0, 4.0, 0.0)]:
        assert shrinkage_after((dot, square, 1.0))().item() == pytest.approx(alpha, rel=1e-12)
    prediction, target = draw(1) + 5, draw(2) + 4
    alpha = shrinkage_after(((prediction * target).sum().item(), prediction.square().sum().item(), 1.0))()
    assert 0 < alpha < 1
    best = (alpha * prediction - target).square().sum()
    for other in (alpha - 0.01, alpha + 0.01):
        assert (other * prediction - target).square().sum() > best


def test_shrinkage_weighs_updates_by_their_age() -> None:
    updates = [(1.0, 2.0, 5.0), (3.0, 3.0, 6.0), (0.5, 4.0, 7.0)]
    means = [sum(0.1 * 0.9**age * update[part] for age, update in zip((2, 1, 0), updates, strict=True))
             for part in range(3)]  # fmt: skip
    shrinkage = shrinkage_after(*updates)
    assert shrinkage().item() == pytest.approx(means[0] / means[1], rel=1e-12)
    assert shrinkage.r2().item() == pytest.approx((2 * means[0] - means[1]) / means[2], rel=1e-12)


def test_shrinkage_takes_in_no_infinity() -> None:
    shrinkage = shrinkage_after((1.0, 2.0, 3.0), ema_decay=0.5)
    for bad in (float("nan"), float("inf")):
        shrinkage.update(torch.tensor(bad), torch.tensor(1.0), torch.tensor(1.0))
        shrinkage.update(torch.tensor(1.0), torch.tensor(bad), torch.tensor(1.0))
        shrinkage.update(torch.tensor(1.0), torch.tensor(1.0), torch.tensor(bad))
    assert shrinkage() == 0.5
    assert all(buffer.isfinite() for buffer in shrinkage.buffers())


@pytest.mark.parametrize(("heads", "ema_decay"), [(1, 0.3), (2, 0.99)])
def test_scale_shrinkage_and_regression_are_as_defined_over_several_updates(heads: int, ema_decay: float) -> None:
    predictor = GradientPredictor(Table(ROWS, FEATURES, heads), ema_decay=ema_decay).double()
    mean_square = torch.ones((), dtype=torch.float64)
    dot_mean = square_mean = updates = 0.0
    for seed, rows in enumerate(MASKS):
        predicted = draw(seed, ROWS, heads, FEATURES).requires_grad_()
        target, after = 3 * draw(seed + 10), draw(seed + 20)
        gradient, metrics = predictor.regress(predicted, target, rows, after)

        counted = torch.ones(ROWS, dtype=torch.bool) if rows is None else rows
        scale = mean_square.sqrt()  # in which the prediction was made
        told = scale * predicted.detach()[counted, 0]
        dot_mean = ema_decay * dot_mean + (1 - ema_decay) * (told * target[counted]).sum()
        square_mean = ema_decay * square_mean + (1 - ema_decay) * told.square().sum()
        assert_close(metrics["shrinkage"], (dot_mean / square_mean).clamp(0, 1))
        assert_close(predictor.shrinkage.dot, dot_mean)
        assert_close(predictor.shrinkage.square, square_mean)
        if counted.any():
            updates += 1
            weight = max(1 / updates, 1 - ema_decay)
            mean_square = mean_square + weight * (target[counted].square().mean() - mean_square)
            error, power = (told - target[counted]).square().sum(), target[counted].square().sum()
            assert_close(metrics["target_r2"], 1 - error / power)
            cosine = torch.cosine_similarity(told.flatten(), target[counted].flatten(), dim=0)
            assert_close(metrics["target_cosine"], cosine)
            wanted = torch.stack([target, scale * after], dim=1)[counted, :heads]
            loss = (scale * predicted[counted] - wanted).square().mean(dim=(0, 2)).sum() / scale / mean_square.sqrt()
            assert_close(gradient, torch.autograd.grad(loss, predicted)[0])
        else:
            assert not gradient.any()
            assert (metrics["target_r2"], metrics["target_cosine"]) == (0, 0)
        assert_close(predictor.mean_square, mean_square)
        assert predictor.updates == updates
        assert_close(metrics["target_rms"], mean_square.sqrt())
        assert_close(predictor.scale, mean_square.sqrt())
    assert_close(predictor.metrics()["shrinkage"], predictor.trust)


def test_without_shrinkage_predictions_are_trusted_from_the_first_on() -> None:
    predictor = GradientPredictor(Table(ROWS, FEATURES), shrinkage=False).double()
    assert predictor.trust == 1
    _, metrics = predictor.regress(-draw(1).unsqueeze(1), draw(1))
    assert (metrics["shrinkage"], predictor.metrics()["shrinkage"], predictor.trust) == (1, 1, 1)


def test_an_update_in_which_nothing_arrives_says_nothing_of_the_scale() -> None:
    predicted, target = draw(1).unsqueeze(1), 1e-3 * draw(2)
    predictor, fresh = (GradientPredictor(Table(ROWS, FEATURES)).double() for _ in range(2))
    gradient, _ = predictor.regress(predicted, torch.zeros_like(target))
    assert_close(gradient, 2 * predicted / target.numel())  # in the unit that it began with
    predictor.regress(predicted, target)
    fresh.regress(predicted, target)
    assert_identical(predictor.scale, fresh.scale)
    predictor.regress(predicted, torch.zeros_like(target))
    assert_identical(predictor.scale, fresh.scale)


def test_learning_fills_the_gradients_of_the_synthesizer_alone() -> None:
    encoder, synthesizer = nn.Linear(FEATURES, FEATURES).double(), nn.Linear(FEATURES, FEATURES).double()
    synthesizer.weight.requires_grad_(False)
    predictor = GradientPredictor(synthesizer).double()
    predictor.learn(synthesizer(encoder(draw(1))).unsqueeze(1), draw(2))
    assert [each.grad is None for each in (encoder.weight, synthesizer.weight, synthesizer.bias)] == [True, True, False]
    predictor.learn(draw(1).unsqueeze(1), draw(2))  # nothing to be trained, but scale and shrinkage learn
    assert predictor.updates == 2


def test_the_means_are_those_of_the_rows_of_all_processes() -> None:
    predicted, target, rows = draw(1, ROWS, 1, FEATURES), draw(2), torch.tensor([True, False, True, True, False])
    whole = GradientPredictor(Table(ROWS, FEATURES)).double()
    expected, metrics = whole.regress(predicted, target, rows)
    sums = []
    recorder = GradientPredictor(Table(ROWS, FEATURES), all_reduce=lambda own: sums.append(own) or own).double()
    for part in (slice(0, 2), slice(2, ROWS)):
        recorder.mean_square.fill_(1)
        recorder.regress(predicted[part], target[part], rows[part])
    predictor = GradientPredictor(Table(ROWS, FEATURES), all_reduce=lambda own: sums[0] + sums[1]).double()
    gradient, shared = predictor.regress(predicted[:2], target[:2], rows[:2])
    assert_close(gradient / 2, expected[:2])  # the mean over two processes
    assert_close(shared, metrics)
    assert_close(dict(predictor.named_buffers()), dict(whole.named_buffers()))


def test_where_a_sequence_ends_nothing_is_predicted_nor_injected() -> None:
    table, continuing = Table(3 * 2, FEATURES, heads=2), torch.tensor([True, True, False, True, True, False])
    asked = []

    def inject(gradient: Tensor, states: Any, rows: Tensor | None) -> Tensor:
        asked.append((gradient, states, rows))
        return 2 * gradient

    at = Boundaries(draw(4, 6, FEATURES), continuing, None, batch_size=2)
    predictor = GradientPredictor(table).double()
    predictor.mean_square.fill_(9)
    predictions = predictor.predict(at, inject)
    expected = table.values.detach()[2:, 0] * continuing[2:].unsqueeze(1)
    assert_identical(predictions.after, expected)
    assert_identical(predictions.injected, 6 * expected)
    assert_identical(predictions.trainable.detach(), table.values.detach()[:4])
    assert predictions.trainable.requires_grad
    ((_, states, rows),) = asked
    assert_identical([states, rows], [at.states[2:], continuing[2:]])


def test_what_is_read_is_in_the_precision_of_the_parameters() -> None:
    predictor = GradientPredictor(nn.Linear(2, 2))
    assert predictor.readable(draw(1)).dtype == torch.float32
    counter = torch.ones(1, dtype=torch.long)
    assert predictor.readable(counter) is counter
    half = GradientPredictor(nn.Linear(2, 2)).half()
    assert {buffer.dtype for buffer in half.buffers()} == {torch.float32}, "means stay wide"
    saved: dict[str, Any] = predictor.state_dict()
    half.load_state_dict(saved)
    assert_identical(half.mean_square, predictor.mean_square)


def test_a_decay_out_of_range_is_refused() -> None:
    for ema_decay in (0, 1):
        with pytest.raises(ValueError, match=rf"^ema_decay must be in \(0, 1\), got {ema_decay}$"):
            GradientPredictor(Table(ROWS, FEATURES), ema_decay=ema_decay)
