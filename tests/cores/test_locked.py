"""Dropout of a whole span: one mask for all its steps, windows and calls, and another for the next."""

import re
from typing import Any

import pytest
import torch
from models import gradients, squared_error
from tolerances import assert_close, assert_identical
from torch import nn

from sgrnn.cores import GRU, LSTM, RNN, HierarchicalCore, SequentialCore
from sgrnn.cores.locked import LockedDropout, WeightDropout, WordDropout, one_span
from sgrnn.cores.regularization import require_no_dropout, without_regularization
from sgrnn.estimators import TruncatedBPTT
from sgrnn.span import Span
from sgrnn.state import leaves, map_state

ONES = torch.ones(7, 50, 40)


def test_a_row_has_one_mask_at_all_steps_of_a_span_and_another_than_its_neighbours() -> None:
    dropout = LockedDropout(0.3)
    torch.manual_seed(0)
    with one_span(dropout, 50):
        first, second = dropout(ONES[:3]), dropout(ONES[3:])
        other_place = dropout(ONES[:3], 1)
    assert_identical(first[:1].expand(3, -1, -1), first)
    assert_identical(second[0], first[0])
    assert_identical(first.unique(), torch.tensor([0, 1 / 0.7]))
    assert (first[0] == 0).double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert len({tuple(row.tolist()) for row in first[0]}) == 50
    assert not torch.equal(other_place, first)
    with one_span(dropout, 50):
        assert not torch.equal(dropout(ONES[:3]), first)


def test_windows_side_by_side_have_the_masks_of_their_rows_and_other_rows_one_of_their_own() -> None:
    dropout = LockedDropout(0.5)
    with one_span(dropout, 5):
        alone = dropout(ONES[:, :6])  # tried out before the span, with a row more
        rows, windows = dropout(ONES[:, :5]), dropout(ONES[:, :15])
    assert_identical(windows, torch.cat([rows, rows, rows], dim=1))
    assert not torch.equal(alone[:, :5], rows)


def test_outside_of_a_span_a_call_is_one() -> None:
    dropout = LockedDropout(0.5)
    first, second = dropout(ONES), dropout(ONES)
    assert_identical(first[:1].expand_as(first), first)
    assert not torch.equal(first, second)


def test_a_span_takes_one_number_of_the_generator_however_many_masks_and_none_without_them() -> None:
    some, none = nn.ModuleList([LockedDropout(0.5), WeightDropout(0.2)]), nn.ModuleList([LockedDropout(0.0)])
    found = []
    for model, calls in ((some, 1), (some, 2), (none, 1), (nn.ModuleList([LockedDropout(0.5)]).eval(), 2)):
        torch.manual_seed(0)
        with one_span(model, 50):
            for module in list(model)[:calls]:
                module(ONES)
        found.append(float(torch.rand(())))
    torch.manual_seed(0)
    untouched = float(torch.rand(()))
    assert found[0] == found[1] != untouched
    assert found[2] == found[3] == untouched


def test_masks_do_not_depend_on_which_is_asked_for_first() -> None:
    model = nn.ModuleList([LockedDropout(0.5), LockedDropout(0.5)])
    asked = [(0, 0), (1, 0), (1, 1)]
    found = []
    for order in (asked, asked[::-1]):
        torch.manual_seed(0)
        with one_span(model, 50):
            masked = {each: model[each[0]](ONES, each[1]) for each in order}
        found.append([masked[each] for each in asked])
    assert_identical(found[1], found[0])
    assert not any(torch.equal(found[0][one], found[0][two]) for one, two in ((0, 1), (0, 2), (1, 2)))


def test_a_word_is_dropped_wherever_it_stands() -> None:
    tokens, dropout = torch.randint(0, 30, (8, 6)), WordDropout(0.4)
    embedding = nn.Embedding(30, 4).double()
    with one_span(dropout, 6):
        found = dropout(embedding(tokens), tokens, 30)
        kept = dropout.mask((30,), found)
    assert_close(found, nn.functional.embedding(tokens, embedding.weight * kept.unsqueeze(1)))
    assert set(kept.tolist()) == {0, 1 / 0.6}
    assert dropout.eval()(found, tokens, 30) is found


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_recurrent_weights_are_dropped_in_torchs_own_layers_and_gradients_are_the_raw_weights(
    kind: Any, steps: int
) -> None:
    torch.manual_seed(0)
    core: Any = kind(4, 5, 2, weight_dropout=0.5).double()
    inputs, state = torch.randn(steps, 3, 4).double(), map_state(torch.randn_like, core.initial_state(3))
    with one_span(core, 3):
        outputs, after = core(inputs, state)
        again, _ = core(inputs, state)
        shape = tuple(core.layers[0].weight_hh_l0.shape)
        masks = [core.weight_dropout.mask(shape, inputs, place) for place in (0, 1)]
    assert_identical(again, outputs)
    assert not torch.equal(masks[0], masks[1])
    outputs.square().sum().backward()
    found = {name: parameter.grad.clone() for name, parameter in core.named_parameters()}
    core.zero_grad()
    values, ends = inputs, []
    for number, (layer, mask) in enumerate(zip(core.layers, masks, strict=True)):
        own = map_state(lambda part, number=number: part[number : number + 1], state)
        weights = {"weight_hh_l0": layer.weight_hh_l0 * mask}
        values, end = torch.func.functional_call(layer, weights, (values, own))
        ends.append(leaves(end))
    values.square().sum().backward()
    assert_close(outputs, values)
    assert_close(leaves(after), [torch.cat(parts) for parts in zip(*ends, strict=True)])
    assert_close(found, {name: parameter.grad for name, parameter in core.named_parameters()})
    assert bool((found["layers.0.weight_hh_l0"] == 0).eq(masks[0] == 0).all())
    assert_identical(core.eval()(inputs, state)[0], kind_without(core, kind)(inputs, state)[0])


def kind_without(core: nn.Module, kind: Any) -> nn.Module:
    """The same core without dropout."""
    plain = kind(4, 5, 2).double().eval()
    plain.load_state_dict(core.state_dict())
    return plain


def test_weights_are_dropped_in_the_precision_of_the_products() -> None:
    torch.manual_seed(0)
    core = LSTM(4, 5, weight_dropout=0.5, precision=torch.bfloat16)
    with one_span(core, 3):
        outputs, _ = core(ONES[:, :3, :4])
        core.precision = None
        assert_close(outputs, core(ONES[:, :3, :4])[0], torch.bfloat16)


def test_a_layer_that_is_more_than_its_class_has_no_weights_dropped() -> None:
    core = GRU(4, 5, 2, weight_dropout=0.5)
    core.layers[1].register_forward_hook(lambda *_: None)
    message = "weight_dropout must be 0 for layers with hooks, parametrizations or a forward of their own, got 0.5 "
    with pytest.raises(ValueError, match=f"^{message}with some in layers.1$"):
        core(ONES[:, :3, :4])
    core.eval()(ONES[:, :3, :4])


def test_a_sequential_core_is_its_cores_one_above_the_other() -> None:
    torch.manual_seed(0)
    below, last = LSTM(4, 6, 2), GRU(6, 3)
    core = SequentialCore([below, last], dropout=0.5, locked_dropout=True)
    assert (core.input_size, core.hidden_size, core.cycle) == (4, 3, 1)
    inputs = ONES[:, :2, :4]
    state = map_state(torch.randn_like, core.initial_state(2))
    with one_span(core, 2):
        outputs, after = core(inputs, state)
        dropout: Any = core.dropout
        mask = dropout.mask((2, 6), inputs, 1)
    middle, of_below = below(inputs, state[0])
    expected, of_last = last(middle * mask, state[1])
    assert_close((outputs, after), (expected, (of_below, of_last)))
    assert_identical(core.eval()(inputs)[0], last(below(inputs)[0])[0])


def test_cores_that_do_not_fit_are_refused() -> None:
    for cores, message in (
        ([], "cores must be at least one, got none"),
        ([LSTM(4, 6), GRU(5, 3)], "cores[1].input_size must be 6, the outputs of the core below, got 5"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            SequentialCore(cores)
    with pytest.raises(TypeError, match="reads time first"):
        SequentialCore([nn.LSTM(4, 6, batch_first=True)])


@pytest.mark.parametrize("make", [LockedDropout, WordDropout, WeightDropout])
def test_a_rate_out_of_range_is_refused_and_one_that_may_be_is_switched_off(make: Any) -> None:
    with pytest.raises(ValueError, match=r"^dropout must be in \[0, 1\), got 1$"):
        make(1)
    dropout = make(0.25)
    assert repr(dropout) == f"{make.__name__}(p=0.25)"
    with without_regularization(dropout):
        require_no_dropout(dropout, "it runs twice")
    require_no_dropout(dropout, "it runs twice", of_a_call=True)
    with pytest.raises(
        ValueError, match=r"^it runs twice, so that it must be without dropout, got 0\.25 in the model$"
    ):
        require_no_dropout(dropout, "it runs twice")


def test_rates_of_a_core_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^weight_dropout must be in \[0, 1\), got -0.5$"):
        LSTM(3, 3, weight_dropout=-0.5)


def test_masks_of_rows_are_refused_in_a_level_which_reads_some_rows_at_a_time() -> None:
    core = HierarchicalCore([LSTM(3 + 2, 3), LSTM(3, 2, 2, dropout=0.5, locked_dropout=True)], [1, 2])
    span = Span(torch.zeros(4, 2, 3), torch.zeros(4, 2, 3))
    message = (
        r"^levels read some rows of a span at a time, which masks that are locked to its rows do not fit: "
        r"locked_dropout must be False in levels.1.dropout$"
    )
    with pytest.raises(ValueError, match=message):
        TruncatedBPTT(core, squared_error, 2).backward(span, core.initial_state(2))


def test_a_hierarchy_drops_weights_of_every_level() -> None:
    torch.manual_seed(0)
    core = HierarchicalCore([LSTM(3 + 2, 3, weight_dropout=0.5), GRU(3, 2, weight_dropout=0.5)], [1, 2]).double()
    span = Span(torch.randn(6, 2, 3).double(), torch.randn(6, 2, 3).double())
    found = []
    for parallel in (True, False):
        core.zero_grad()
        torch.manual_seed(1)
        TruncatedBPTT(core, squared_error, 2, parallel=parallel).backward(span, core.initial_state(2))
        found.append(gradients(core))
    assert_close(found[0], found[1])
    assert bool((found[0]["levels.0.layers.0.weight_hh_l0"] == 0).any())


def test_two_places_of_one_module_are_refused_where_their_masks_differ_in_shape() -> None:
    locked, words, weights = modules = nn.ModuleList([LockedDropout(0.5), WordDropout(0.5), WeightDropout(0.5)])
    tokens = torch.zeros(2, 4, dtype=torch.long)
    with one_span(modules, 4):
        locked(torch.ones(2, 4, 3))
        locked(torch.ones(2, 4, 5), place=1)
        with pytest.raises(ValueError, match=r"is used in two places, with masks of \(4, 3\) and \(4, 5\): give"):
            locked(torch.ones(2, 4, 5))
        words(torch.ones(2, 4, 3), tokens, 7)
        with pytest.raises(ValueError, match=r"with masks of \(7,\) and \(9,\)"):
            words(torch.ones(2, 4, 3), tokens, 9)
        weights(torch.ones(3, 3))
        with pytest.raises(ValueError, match=r"with masks of \(3, 3\) and \(3, 5\)"):
            weights(torch.ones(3, 5))


def test_a_sequential_core_reads_what_the_one_below_projects_to() -> None:
    core = SequentialCore([nn.LSTM(3, 8, proj_size=4), nn.LSTM(4, 5)]).double()
    assert core(torch.zeros(2, 3, 3).double())[0].shape == (2, 3, 5)
    with pytest.raises(ValueError, match=r"^cores\[1\].input_size must be 4, the outputs of the core below, got 8$"):
        SequentialCore([nn.LSTM(3, 8, proj_size=4), nn.LSTM(8, 5)])
    with pytest.raises(ValueError, match=r"^cores\[0\] must have the attribute input_size, a number, got a Identity$"):
        SequentialCore([nn.Identity()])
