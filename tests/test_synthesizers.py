"""Synthesizers begin at zero, see standardized states, and are followed as their follower says."""

from io import BytesIO

import pytest
import torch
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.lookahead import Lookahead, LookaheadEncoder, vector_features
from sgrnn.synthesizers import Follower, MLPSynthesizer

ROWS, HIDDEN = 5, 4
SIZE = 2 * 2 * HIDDEN


def lstm_state(seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(2, ROWS, HIDDEN).double(), 3 * torch.randn(2, ROWS, HIDDEN).double() + 1


def ahead() -> Lookahead:
    torch.manual_seed(1)
    return Lookahead(torch.randn(3, ROWS, 2).double(), torch.randn(3, ROWS, 1).double(), None)


def make_synthesizer(
    hidden_sizes: tuple[int, ...] = (7,), *, lookahead: bool = False, **options: bool
) -> MLPSynthesizer:
    torch.manual_seed(2)
    encoder = LookaheadEncoder(3, vector_features, 3) if lookahead else None
    return MLPSynthesizer(SIZE, hidden_sizes, lookahead=encoder, **options).double()


def learned(synthesizer: MLPSynthesizer) -> MLPSynthesizer:
    """With a last layer that is not zero."""
    torch.manual_seed(3)
    nn.init.normal_(synthesizer.last.weight)
    nn.init.normal_(synthesizer.last.bias)
    return synthesizer


@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("lookahead", [False, True])
@pytest.mark.parametrize("hidden_sizes", [(), (7,), (7, 6)])
def test_a_fresh_one_predicts_zero_for_every_row_and_head(
    hidden_sizes: tuple[int, ...], lookahead: bool, auxiliary: bool
) -> None:
    synthesizer = make_synthesizer(hidden_sizes, lookahead=lookahead, auxiliary=auxiliary)
    predicted = synthesizer(lstm_state(), ahead() if lookahead else None)
    assert_identical(predicted, torch.zeros(ROWS, 1 + auxiliary, SIZE, dtype=torch.float64))
    assert synthesizer.lookahead_steps == (3 if lookahead else 0)
    predicted.backward(torch.ones_like(predicted))
    assert synthesizer.last.weight.grad is not None
    assert synthesizer.last.weight.grad.any(), "it can learn"


@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("hidden_sizes", [(), (7,), (7, 6)])
def test_it_is_a_perceptron_on_every_vector_standardized_and_the_steps_ahead(
    hidden_sizes: tuple[int, ...], auxiliary: bool
) -> None:
    synthesizer = learned(make_synthesizer(hidden_sizes, lookahead=True, auxiliary=auxiliary))
    hidden, cell = lstm_state()
    parts = []
    for vectors in (hidden[0], hidden[1], cell[0], cell[1]):
        centered = vectors - vectors.mean(dim=1, keepdim=True)
        parts.append(centered / (centered.square().mean(dim=1, keepdim=True) + 1e-5).sqrt())
    assert synthesizer.lookahead is not None
    values = torch.cat([*parts, synthesizer.lookahead(ahead())], dim=1)
    layers = [module for module in synthesizer.hidden if isinstance(module, nn.Linear)]
    assert [layer.out_features for layer in layers] == list(hidden_sizes)
    for layer in layers:
        values = (values @ layer.weight.T + layer.bias).clamp(min=0)
    expected = values @ synthesizer.last.weight.T + synthesizer.last.bias
    found = synthesizer((hidden, cell), ahead())
    assert_close(found[:, 0], expected[:, :SIZE])
    assert_close(found.flatten(1), expected)


def test_without_standardizing_and_hidden_layers_it_is_linear_in_the_state() -> None:
    synthesizer = learned(make_synthesizer((), standardize=False))
    first, second = lstm_state(0), lstm_state(1)
    mixed = tuple(2 * a - 3 * b for a, b in zip(first, second, strict=True))
    bias = synthesizer.last.bias.view(1, 1, -1)
    assert_close(synthesizer(mixed) - bias, 2 * (synthesizer(first) - bias) - 3 * (synthesizer(second) - bias))


def test_the_scale_of_a_state_is_not_seen_unless_told() -> None:
    state = lstm_state()
    larger = tuple(100 * tensor for tensor in state)
    standardized, raw = learned(make_synthesizer()), learned(make_synthesizer(standardize=False))
    assert torch.allclose(standardized(larger), standardized(state), rtol=1e-3)
    assert not torch.allclose(raw(larger), raw(state), rtol=1e-1)


def test_rows_do_not_see_one_another() -> None:
    synthesizer = learned(make_synthesizer())
    hidden, cell = lstm_state()
    before = synthesizer((hidden, cell))
    cell[0, 2, 1] += 1
    moved = (synthesizer((hidden, cell)) - before).abs().amax(dim=(1, 2)) > 1e-9
    assert moved.tolist() == [False, False, True, False, False]


def test_counters_in_a_state_are_not_seen() -> None:
    hidden, cell = lstm_state()
    synthesizer = learned(make_synthesizer())
    counted = {"hidden": hidden, "count": torch.ones(ROWS, 1, dtype=torch.long), "cell": cell}
    assert_identical(synthesizer(counted), synthesizer((hidden, cell)))


class Fixed(nn.Module):
    """Predicts its one parameter."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor([value], dtype=torch.float64))

    def forward(self, state: Tensor, lookahead: None = None) -> Tensor:
        return self.value.expand(len(state), 1, 1)


def follow(leader: Fixed, follower: Follower, values: list[float]) -> list[float]:
    """What the copy predicts before each update, while the synthesizer takes on these values."""
    seen = []
    for value in values:
        seen.append(follower(torch.zeros(1, 1)).item())
        with torch.no_grad():
            leader.value.fill_(value)
        follower.follow()
    return seen


@pytest.mark.parametrize(
    ("rate", "every", "expected"),
    [
        (1.0, 1, [0, 1, 2, 3, 4, 5, 6]),
        (1.0, 3, [0, 0, 0, 3, 3, 3, 6]),
        (0.5, 1, [0, 0.5, 1.25, 2.125, 3.0625, 4.03125, 5.015625]),
        (0.5, 2, [0, 0, 1, 1, 2.5, 2.5, 4.25]),
    ],
)
def test_the_copy_goes_a_share_of_the_way_every_so_many_updates(rate: float, every: int, expected: list[float]) -> None:
    leader = Fixed(0.0)
    assert follow(leader, Follower(leader, rate, every), [1, 2, 3, 4, 5, 6, 7]) == expected


def test_a_copy_with_rate_1_is_the_synthesizer_bit_for_bit() -> None:
    leader = learned(make_synthesizer((7, 6)))
    follower = Follower(leader, 1.0, 1)
    assert_identical(follower(lstm_state()), leader(lstm_state()))
    learned(leader)
    for parameter in leader.parameters():
        nn.init.normal_(parameter)
    follower.follow()
    assert_identical(follower.copies, [parameter.detach() for parameter in leader.parameters()])
    assert_identical(follower(lstm_state()), leader(lstm_state()))


def test_the_copy_is_no_parameter_and_the_synthesizer_not_registered_twice() -> None:
    leader = make_synthesizer()
    holder = nn.ModuleDict({"leader": leader, "follower": Follower(leader, 0.1, 1)})
    assert [name for name, _ in holder.named_parameters()] == [
        f"leader.{name}" for name, _ in leader.named_parameters()
    ]
    assert len(list(holder["follower"].buffers())) == len(list(leader.parameters())) + 1


def test_a_saved_follower_goes_on_where_it_stood() -> None:
    values: list[float] = [1, 2, 3, 4, 5, 6, 7, 8]
    leader = Fixed(0.0)
    whole = follow(leader, Follower(leader, 0.5, 3), values)
    leader = Fixed(0.0)
    follower = Follower(leader, 0.5, 3)
    begun = follow(leader, follower, values[:4])
    file = BytesIO()
    torch.save((leader.state_dict(), follower.state_dict()), file)
    file.seek(0)
    saved_leader, saved = torch.load(file, weights_only=True)
    leader = Fixed(9.0)
    follower = Follower(leader, 0.5, 3)
    leader.load_state_dict(saved_leader)
    follower.load_state_dict(saved)
    assert begun + follow(leader, follower, values[4:]) == whole


@pytest.mark.parametrize(
    ("rate", "every", "message"),
    [
        (0.0, 1, r"rate must be in \(0, 1\], got 0.0"),
        (1.5, 1, r"rate must be in \(0, 1\], got 1.5"),
        (1.0, 0, "every must be at least 1 update, got 0"),
    ],
)
def test_a_follower_refuses_what_is_out_of_range(rate: float, every: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Follower(Fixed(0.0), rate, every)
