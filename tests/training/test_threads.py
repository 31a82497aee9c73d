"""How many threads a run computes with: what its recipe says, else the environment, else a rule."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from subprocess import run
from sys import executable

import pytest
import torch
from torch import nn

from sgrnn.config.build.model import build_model
from sgrnn.config.files import load_recipe, parse_recipe
from sgrnn.config.recipe import Recipe
from sgrnn.training.distributed import ALONE, Ranks
from sgrnn.training.threads import SMALL, products, suitable_threads, threads_for

AVAILABLE = 6
RECIPE = """
data: {corpus: python-docs}
model: {hidden_size: 100, embedding_size: 50}
gradient: {kind: bptt}
training: {epochs: 1, batch_size: 20}
"""
LARGE = "--model.hidden_size=1000"


@pytest.fixture(autouse=True)
def _six_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(AVAILABLE)
    yield
    torch.set_num_threads(before)


def read(*overrides: str) -> Recipe:
    return parse_recipe(RECIPE, "recipe.yaml", None, overrides)


def threads(*overrides: str, ranks: Ranks = ALONE) -> int:
    """How many a run of the recipe takes, with 50 characters."""
    recipe = read(*overrides)
    with threads_for(recipe, partial(build_model, recipe, 50), ranks) as chosen:
        assert torch.get_num_threads() == chosen
    assert torch.get_num_threads() == AVAILABLE
    return chosen


def test_products_are_the_weights_of_all_matrices_that_are_multiplied() -> None:
    model = build_model(read(), 50)
    assert products(model) == (50 + 100) * 4 * 100 + 100 * 50
    tied = build_model(read("--model.tied=true", "--model.embedding_size=100"), 50)
    assert products(tied) == (100 + 100) * 4 * 100 + 100 * 50
    with torch.device("meta"):
        assert products(build_model(read(), 50)) == products(model)


def test_a_small_model_takes_one_thread_and_a_large_one_all() -> None:
    assert suitable_threads(SMALL, AVAILABLE) == 1
    assert suitable_threads(SMALL + 1, AVAILABLE) == AVAILABLE
    assert threads() == 1
    quickstart = load_recipe("quickstart")
    with threads_for(quickstart, partial(build_model, quickstart, 2000)) as chosen:
        assert chosen == 1
    assert threads(LARGE) == AVAILABLE
    assert threads("--training.batch_size=2000") == AVAILABLE, "it is the rows that are multiplied with the weights"


def test_processes_on_a_machine_share_its_threads() -> None:
    assert threads(LARGE, ranks=Ranks(0, 2, 0, 2)) == AVAILABLE // 2
    assert threads(LARGE, "--training.batch_size=80", ranks=Ranks(0, 8, 0, 8)) == 1
    assert threads(LARGE, ranks=Ranks(0, 4, 0, 2)) == AVAILABLE // 2, "the others are elsewhere"


def test_the_environment_wins_over_the_rule_and_the_recipe_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads("--training.threads=3") == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4")  # torch has read it: here it says six
    assert threads() == AVAILABLE
    assert threads(LARGE, ranks=Ranks(0, 2, 0, 2)) == AVAILABLE, "as torchrun sets it for each process"
    assert threads("--training.threads=2") == 2


def test_threads_are_as_before_after_an_error() -> None:
    recipe = read("--training.threads=2")
    with pytest.raises(ZeroDivisionError), threads_for(recipe, lambda: nn.Linear(1, 1)):
        raise ZeroDivisionError
    assert torch.get_num_threads() == AVAILABLE


def test_the_shapes_of_a_model_cost_no_random_numbers() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    threads()
    assert torch.equal(torch.rand(1), expected)


def test_the_command_line_lets_idle_threads_sleep_unless_the_environment_says_otherwise() -> None:
    script = "import sys, os, sgrnn.cli; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    others = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    for variable, expected in (({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")):
        ended = run([executable, "-c", script], env=others | variable, capture_output=True, text=True, check=True)
        assert ended.stdout == f"{expected} False\n"


FAULTS = """
import torch
from resource import RUSAGE_SELF, getrusage
from sgrnn.training.memory import keep_freed_memory
keep_freed_memory()
for _ in range(32):
    before = getrusage(RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)  # 64 MiB, more than glibc keeps by itself
    print(getrusage(RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_memory_is_handed_out_again_without_page_faults() -> None:
    ended = run([executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    faults = [int(line) for line in ended.stdout.split()]
    # Elsewhere than on Linux it promises nothing but to do no harm.
    assert sys.platform != "linux" or sum(faults[-8:]) < 50, f"the heap has grown by then: {faults}"
