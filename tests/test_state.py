"""States: any nest of tensors is walked, cut, joined and taken apart without losing its structure."""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from tolerances import assert_identical
from torch import Tensor

from sgrnn.state import (
    State,
    batch_size,
    concatenate,
    cut,
    detach,
    floating_leaves,
    from_matrix,
    leaves,
    map_state,
    put_rows,
    rows,
    state_size,
    take_rows,
    to_matrix,
    trailing_size,
    where_rows,
)

ROWS = 4


class Memory(NamedTuple):
    hidden: Tensor
    steps: Tensor


def numbers(*shape: int) -> Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float64).view(shape)


STATES: dict[str, Callable[[], State]] = {
    "tensor": lambda: numbers(ROWS, 3),
    "layers": lambda: numbers(2, ROWS, 3),
    "pair": lambda: (numbers(2, ROWS, 3), numbers(2, ROWS, 3) + 100),
    "list": lambda: [numbers(ROWS, 3), numbers(ROWS, 1)],
    "dict": lambda: {"b": numbers(ROWS, 2), "a": (numbers(3, 2, ROWS, 2), torch.arange(ROWS).view(ROWS, 1))},
    "named tuple": lambda: Memory(numbers(1, ROWS, 3), torch.arange(ROWS).view(ROWS, 1)),
}
DEEP = ["dict", "named tuple"]  # of all kinds of nests, with counters and layers
any_state = pytest.mark.parametrize("make", [STATES[kind] for kind in DEEP], ids=DEEP)


def types(state: State) -> object:
    """The structure of a nest, without its values."""
    if isinstance(state, Tensor):
        return state.shape, state.dtype
    if isinstance(state, dict):
        return dict, [(key, types(part)) for key, part in state.items()]
    return type(state), [types(part) for part in state]


@any_state
def test_mapping_keeps_the_structure_and_reaches_every_tensor(make: Callable[[], State]) -> None:
    state = make()
    doubled = map_state(lambda tensor: 2 * tensor, state)
    assert types(doubled) == types(state)
    assert_identical(leaves(doubled), [2 * tensor for tensor in leaves(state)])
    summed = map_state(lambda *tensors: sum(tensors), state, doubled, state)
    assert_identical(leaves(summed), [4 * tensor for tensor in leaves(state)])


def test_leaves_are_in_order_and_counters_carry_no_gradient() -> None:
    state = STATES["dict"]()
    assert_identical(leaves(state), [state["b"], state["a"][0], state["a"][1]])
    assert_identical(floating_leaves(state), [state["b"], state["a"][0]])


def test_other_things_and_states_of_other_structure_are_refused() -> None:
    with pytest.raises(TypeError, match="outputs are tensors, or tuples, lists or dicts of them, got NoneType"):
        leaves((torch.zeros(1, 1), None))
    with pytest.raises(ValueError, match="shorter"):
        map_state(torch.add, (numbers(1, 1), numbers(1, 1)), (numbers(1, 1),))


@any_state
def test_rows_are_those_of_the_axis_before_the_last_and_put_together_the_state(make: Callable[[], State]) -> None:
    state = make()
    assert batch_size(state) == ROWS
    for row in range(ROWS):
        for part, whole in zip(leaves(rows(state, row, row + 1)), leaves(state), strict=True):
            assert_identical(part, whole.narrow(-2, row, 1))
    assert batch_size(rows(state, -3, None)) == 3
    assert batch_size(rows(state, 0, -1)) == ROWS - 1
    together = concatenate([rows(state, 0, 1), rows(state, 1, 3), rows(state, 3, None)])
    assert types(together) == types(state)
    assert_identical(leaves(together), leaves(state))
    assert concatenate([state]) is state


@any_state
def test_detach_and_cut_keep_values_and_drop_the_graph(make: Callable[[], State]) -> None:
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    plain = make()
    state = map_state(lambda tensor: tensor * weight if tensor.is_floating_point() else tensor, plain)
    for changed, wanted in ((detach(state), False), (cut(state), True)):
        assert types(changed) == types(state)
        for tensor, before in zip(leaves(changed), leaves(state), strict=True):
            assert_identical(tensor, before)
            assert tensor.grad_fn is None
            assert tensor.requires_grad is (wanted and tensor.is_floating_point())
    to_matrix(cut(state)).sum().backward()
    assert weight.grad is None
    cut(plain)
    assert not any(tensor.requires_grad for tensor in leaves(plain)), "the state itself is left alone"


@any_state
def test_a_matrix_holds_each_rows_numbers_side_by_side_and_gives_them_back(make: Callable[[], State]) -> None:
    state = make()
    matrix = to_matrix(state)
    assert matrix.shape == (ROWS, state_size(state))
    for row in range(ROWS):
        parts = [part.flatten() for part in floating_leaves(rows(state, row, row + 1))]
        assert_identical(matrix[row], torch.cat(parts))
    assert_identical(from_matrix(matrix, state), floating_leaves(state))


def test_a_matrix_of_other_rows_takes_the_shape_of_the_state_but_for_its_rows() -> None:
    like = (numbers(2, ROWS, 3), numbers(ROWS, 5))
    first, second = from_matrix(numbers(7, 11), like)
    assert first.shape == (2, 7, 3)
    assert second.shape == (7, 5)
    assert_identical(to_matrix((first, second)), numbers(7, 11))


def test_the_size_of_a_state_counts_what_carries_gradients() -> None:
    assert [state_size(make()) for make in STATES.values()] == [3, 6, 12, 4, 14, 3]


@any_state
def test_rows_are_chosen_one_by_one_taken_and_put_back(make: Callable[[], State]) -> None:
    state = make()
    changed = map_state(lambda tensor: -tensor - 1, state)
    chosen, mask = torch.tensor([2, 0]), torch.tensor([True, False, True, False])
    expected = where_rows(mask, changed, state)
    assert types(expected) == types(state)
    for row, source in enumerate((changed, state, changed, state)):
        assert_identical(leaves(rows(expected, row, row + 1)), leaves(rows(source, row, row + 1)))
    taken = take_rows(state, chosen)
    assert_identical(leaves(taken), leaves(concatenate([rows(state, 2, 3), rows(state, 0, 1)])))
    assert_identical(leaves(put_rows(state, chosen, take_rows(changed, chosen))), leaves(expected))
    assert_identical(leaves(put_rows(state, mask, take_rows(changed, mask))), leaves(expected))
    assert put_rows(state, None, take_rows(changed, None)) is changed


def test_the_last_vectors_of_a_width_are_counted_as_far_as_they_go() -> None:
    state = {"other": numbers(ROWS, 5), "count": torch.zeros(ROWS, 1, dtype=torch.long), "layers": numbers(2, ROWS, 3)}
    state["last"] = numbers(ROWS, 3)
    assert [trailing_size(state, width) for width in (3, 5)] == [9, 0]
    assert trailing_size(state["other"], 5) == 5


class Attributes(dict[str, Tensor]):
    """A dict of a class of its own."""

    @property
    def hidden(self) -> Tensor:
        return self["hidden"]


def test_a_dict_of_another_class_stays_one() -> None:
    state = Attributes(hidden=numbers(ROWS, 2))
    assert_identical(map_state(lambda tensor: tensor + 1, state).hidden, numbers(ROWS, 2) + 1)
    ordered = OrderedDict(b=numbers(ROWS, 1), a=numbers(ROWS, 2))
    doubled = map_state(lambda tensor: 2 * tensor, ordered)
    assert isinstance(doubled, OrderedDict)
    assert list(doubled) == ["b", "a"]
    assert_identical(ordered["a"], numbers(ROWS, 2))


def test_rows_that_are_put_into_a_state_leave_its_keys_in_their_order() -> None:
    state, other = {"b": numbers(ROWS, 1), "a": numbers(ROWS, 2)}, {"a": -numbers(ROWS, 2), "b": -numbers(ROWS, 1)}
    mixed = where_rows(torch.tensor([True, False, False, False]), other, state)
    assert list(mixed) == ["b", "a"]
    assert_identical(mixed["b"], torch.tensor([[0.0], [1], [2], [3]]).double())
    assert_identical(mixed["a"][:2], torch.tensor([[0.0, -1], [2, 3]]).double())
