"""Muon on the weights of recurrent layers, AdamW on all else: what a step is, what it is of, and that it goes on."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sgrnn
from sgrnn import orthogonalized as orthogonalized_module
from sgrnn.orthogonalized import orthogonalized

RATE = 1e-2


def model_of(core: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in core.parameters():
        nn.init.normal_(parameter, std=0.3)
    return nn.ModuleDict({"core": core, "norm": nn.LayerNorm(8), "readout": nn.Linear(8, 3)})


def fill_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter)


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def polar_factor(matrix: Tensor) -> Tensor:
    """The polar factor, that is the matrix with all singular values 1."""
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_step_is_the_orthogonalized_momentum_of_recurrent_weights_and_that_of_adamw(decay: float) -> None:
    model = model_of(nn.LSTM(8, 8, num_layers=2))
    others = copy.deepcopy(model)
    optimizer = sgrnn.Muon(model, RATE, momentum=0.9, weight_decay=decay)
    adamw = torch.optim.AdamW(others.parameters(), RATE, weight_decay=decay, fused=True)
    momentum = {name: torch.zeros_like(value) for name, value in values(model).items()}
    for seed in range(3):
        fill_gradients(model, seed)
        fill_gradients(others, seed)
        before = values(model)
        optimizer.step()
        adamw.step()
        for name, after in values(model).items():
            if after.ndim == 1 or "readout" in name:
                torch.testing.assert_close(after, values(others)[name], rtol=0, atol=0)
                continue
            gradient = model.get_parameter(name).grad
            assert gradient is not None
            momentum[name].lerp_(gradient, 0.1)
            step = (before[name] * (1 - RATE * decay) - after) / (RATE * 0.2 * math.sqrt(max(after.shape)))
            # The iteration leaves singular values between 0.7 and 1.2, directions all but as they are.
            spread = torch.linalg.svdvals(step)
            assert 0.6 < spread.min() <= spread.max() < 1.3
            expected = polar_factor(gradient.lerp(momentum[name], 0.9))
            assert torch.cosine_similarity(step.flatten(), expected.flatten(), dim=0) > 0.97


@pytest.mark.parametrize(
    ("core", "matrices"),
    [
        (nn.LSTM(5, 8, num_layers=2), 4),
        (nn.GRUCell(5, 8), 2),
        (nn.RNN(5, 8, bidirectional=True), 4),
        (nn.LSTM(5, 8, proj_size=4), 2),  # what it projects by is no weight of the recurrence alone
        (sgrnn.LSTM(5, 8, num_layers=2), 4),
        (sgrnn.GRU(5, 8), 2),
    ],
)
def test_matrices_are_those_of_recurrent_layers_and_everything_is_trained_once(core: nn.Module, matrices: int) -> None:
    model = nn.ModuleList([nn.Embedding(4, 5), core, nn.Linear(8, 4)])
    muon, adamw = sgrnn.Muon(model).param_groups
    assert len(muon["params"]) == matrices
    every = [id(parameter) for parameter in (*muon["params"], *adamw["params"])]
    assert sorted(every) == sorted(id(parameter) for parameter in model.parameters())


def test_the_learning_rate_of_the_groups_counts_and_what_does_not_learn_is_left_alone() -> None:
    model = model_of(nn.GRU(8, 8))
    model.get_parameter("core.weight_ih_l0").requires_grad_(False)
    optimizer = sgrnn.Muon(model, RATE)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    before = values(model)
    for rate, moves in ((0.0, False), (RATE, True)):
        for group in optimizer.param_groups:
            group["lr"] = rate
        fill_gradients(model, 0)
        optimizer.step()
        moved = {name for name, value in values(model).items() if not torch.equal(value, before[name])}
        assert moved == (before.keys() - {"core.weight_ih_l0"} if moves else set())


@pytest.mark.parametrize("schedule", [
    lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=3),
    lambda optimizer: torch.optim.lr_scheduler.CyclicLR(optimizer, RATE / 2, RATE, step_size_up=2),
])  # fmt: skip
def test_schedules_of_the_momentum_move_that_of_the_matrices(schedule: Callable[[sgrnn.Muon], Any]) -> None:
    models = [model_of(nn.LSTM(8, 8)) for _ in range(2)]
    scheduled, by_hand = (sgrnn.Muon(model, RATE) for model in models)
    scheduler = schedule(scheduled)
    momenta = set[float]()
    for seed in range(3):
        for group, its in zip(by_hand.param_groups, scheduled.param_groups, strict=True):
            group["lr"] = its["lr"]
        by_hand.param_groups[0]["momentum"] = scheduled.param_groups[0]["momentum"]
        momenta.add(by_hand.param_groups[0]["momentum"])
        for model, optimizer in zip(models, (scheduled, by_hand), strict=True):
            fill_gradients(model, seed)
            optimizer.step()
        scheduler.step()
    assert len(momenta) > 1
    torch.testing.assert_close(values(models[0]), values(models[1]), rtol=0, atol=0)


def test_only_recurrent_weights_and_a_closure() -> None:
    core = nn.RNNCell(3, 8, bias=False)
    optimizer = sgrnn.Muon(core, RATE)
    before = values(core)

    def closure() -> float:
        fill_gradients(core, 0)
        return 5.0

    assert optimizer.step(closure) == 5.0
    assert all(not torch.equal(value, before[name]) for name, value in values(core).items())


@pytest.mark.parametrize("core", [lambda: nn.LSTM(8, 8), lambda: sgrnn.LSTM(8, 8)])
def test_training_goes_on_from_a_checkpoint_to_the_bit(core: Callable[[], nn.Module]) -> None:
    whole = model_of(core())
    optimizer = sgrnn.Muon(whole, RATE)
    saved: Any = None
    for seed in range(6):
        if seed == 3:
            saved = copy.deepcopy((whole.state_dict(), optimizer.state_dict()))
        fill_gradients(whole, seed)
        optimizer.step()
    parts = model_of(core())
    parts.load_state_dict(saved[0])
    optimizer = sgrnn.Muon(parts, 7.0)
    optimizer.load_state_dict(saved[1])
    for seed in range(3, 6):
        fill_gradients(parts, seed)
        optimizer.step()
    assert all(torch.equal(value, values(whole)[name]) for name, value in values(parts).items())


def test_a_copy_trains_the_model_that_was_copied_with_it() -> None:
    model = model_of(nn.LSTM(8, 8))
    optimizer = sgrnn.Muon(model, RATE)
    fill_gradients(model, 0)
    optimizer.step()
    others = [copy.deepcopy((model, optimizer)), pickle.loads(pickle.dumps((model, optimizer)))]
    for one, its in [(model, optimizer), *others]:
        fill_gradients(one, 1)
        its.param_groups[0]["lr"] = its.param_groups[1]["lr"] = RATE / 2
        its.step()
    for other, _ in others:
        assert all(torch.equal(value, values(model)[name]) for name, value in values(other).items())


def test_parametrized_weights_are_found_and_vectors_among_them_are_not() -> None:
    core = nn.LSTM(3, 8, bias=False)
    nn.utils.parametrizations.weight_norm(core, "weight_hh_l0")  # a direction, and a length for each row
    muon, adamw = sgrnn.Muon(core).param_groups
    assert sorted(tuple(parameter.shape) for parameter in muon["params"]) == [(32, 3), (32, 8)]
    assert [tuple(parameter.shape) for parameter in adamw["params"]] == [(32, 1)]


def test_what_it_cannot_train_is_refused() -> None:
    with pytest.raises(ValueError, match=r"module must have matrices called weight_ih... or weight_hh... that learn, "):
        sgrnn.Muon(nn.Linear(3, 4))
    with pytest.raises(TypeError, match=r"^module must be a torch.nn.Module, whose names tell .* apart, got a list$"):
        sgrnn.Muon(list(nn.LSTM(3, 4).parameters()))  # pyright: ignore
    with pytest.raises(ValueError, match=r"^momentum must be at least 0 and below 1, got 1.5$"):
        sgrnn.Muon(nn.LSTM(3, 4), momentum=1.5)
    with pytest.raises(ValueError, match=r"^betas\[1\] must be at least 0 and below 1, got 1$"):
        sgrnn.Muon(nn.RNNCell(3, 4, bias=False), betas=(0.9, 1))
    with pytest.raises(ValueError, match="parameters cannot be added to Muon, which tells them by name: make one of"):
        sgrnn.Muon(nn.LSTM(3, 4)).add_param_group({"params": nn.LSTM(3, 4).parameters()})
    optimizer = sgrnn.Muon(nn.LSTM(3, 4))
    with pytest.raises(ValueError, match="the state must be of muon and adamw, got state, param_groups"):
        optimizer.load_state_dict(torch.optim.Adam(nn.LSTM(3, 4).parameters()).state_dict())
    with pytest.raises(ValueError, match="earning rate"):
        sgrnn.Muon(nn.LSTM(3, 4), -1.0)


def test_a_state_that_does_not_fit_leaves_the_optimizer_as_it_was() -> None:
    models = model_of(nn.LSTM(3, 4)), nn.ModuleList([model_of(nn.LSTM(3, 4)), nn.Linear(2, 2)]), model_of(nn.LSTM(2, 4))
    model, optimizers = models[0], [sgrnn.Muon(each) for each in models]
    for each, optimizer in zip(models, optimizers, strict=True):
        fill_gradients(each, seed=1)
        optimizer.step()
    before = copy.deepcopy(optimizers[0].state_dict())
    with pytest.raises(ValueError, match="loaded state dict contains a parameter group that doesn't match"):
        optimizers[0].load_state_dict(optimizers[1].state_dict())
    its = optimizers[2].state_dict()
    with pytest.raises(ValueError, match=r"state must fit parameter 0 of muon, \(16, 3\), got momentum_b.* \(16, 2\)$"):
        optimizers[0].load_state_dict(its)
    its["muon"], its["adamw"]["state"][2]["exp_avg_sq"] = before["muon"], torch.ones(5)
    with pytest.raises(ValueError, match=r"^the state must fit parameter 2 of adamw, \(8,\), got exp_avg_sq \(5,\)$"):
        optimizers[0].load_state_dict(its)
    with pytest.raises(KeyError):
        optimizers[0].load_state_dict({"muon": optimizers[1].state_dict()["muon"], "adamw": {}})
    for name, part in optimizers[0].state_dict().items():
        torch.testing.assert_close(part["state"], before[name]["state"], rtol=0, atol=0)
    weights = values(model)
    for group in optimizers[0].param_groups:
        group["lr"] = 0.0
    fill_gradients(model, seed=2)
    optimizers[0].step()
    torch.testing.assert_close(values(model), weights, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(64, 16), (16, 64), (24, 24)])
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_iterating_on_the_square_is_iterating_on_the_matrix(shape: tuple[int, int], steps: int) -> None:
    torch.manual_seed(0)
    spread = torch.logspace(0, -6, shape[1], dtype=torch.float64)  # directions of a millionth of the largest, too
    matrix = torch.randn(shape, dtype=torch.float64) * spread
    expected = matrix / matrix.norm()
    for _ in range(steps):
        square = expected @ expected.T
        expected = 3.4445 * expected - 4.7750 * square @ expected + 2.0315 * square @ square @ expected
    for precision, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        found = orthogonalized(matrix.to(precision), (3.4445, -4.7750, 2.0315), steps)
        assert found.dtype == precision
        assert float((found - expected).norm() / expected.norm()) < tolerance


def test_steps_are_those_of_torch_which_makes_them_where_bfloat16_is_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: dict[bool, dict[str, Tensor]] = {}
    for units in (False, True):
        monkeypatch.setattr(orthogonalized_module, "_multiplies_bfloat16", lambda device, units=units: units)
        model = model_of(nn.LSTM(8, 8))
        optimizer, theirs = sgrnn.Muon(model, RATE, weight_decay=0.1), copy.deepcopy(model)
        torchs = torch.optim.Muon(
            [theirs.get_parameter(f"core.weight_{kind}_l0") for kind in ("ih", "hh")],
            RATE,
            0.1,
            adjust_lr_fn="match_rms_adamw",
        )
        before = values(model)
        for seed in range(4):
            for each in (model, theirs):
                fill_gradients(each, seed)
            optimizer.step()
            torchs.step()
        for name in ("core.weight_ih_l0", "core.weight_hh_l0"):
            found, expected = (values(each)[name].float() - before[name].float() for each in (model, theirs))
            torch.testing.assert_close(found, expected, rtol=0, atol=0 if units else 0.03 * float(expected.abs().max()))
        steps[units] = values(model)
    assert not torch.equal(steps[True]["core.weight_hh_l0"], steps[False]["core.weight_hh_l0"])


def test_a_model_in_bfloat16_takes_the_steps_of_its_gradients_in_float32() -> None:
    matrix = torch.randn(16, 8).bfloat16()
    found = orthogonalized(matrix, (3.4445, -4.7750, 2.0315), 5)
    assert torch.equal(found, orthogonalized(matrix.float(), (3.4445, -4.7750, 2.0315), 5))
    core = nn.LSTM(8, 8).bfloat16()
    before = values(core)
    optimizer = sgrnn.Muon(core, RATE)
    fill_gradients(core, 0)
    optimizer.step()
    assert all(value.dtype == torch.bfloat16 for value in values(core).values())
    assert not torch.equal(values(core)["weight_hh_l0"], before["weight_hh_l0"])


@pytest.mark.parametrize(("tiles", "products"), [(False, False), (True, False), (False, True)])
def test_processors_multiply_in_bfloat16_by_tiles_or_by_products_of_avx512(
    tiles: bool, products: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: products, raising=False)
    found = orthogonalized_module._multiplies_bfloat16.__wrapped__(torch.device("cpu"))
    assert found == (tiles or products)
