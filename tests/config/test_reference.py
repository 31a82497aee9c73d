"""The reference of recipe fields holds every field, and says of it what a recipe's own check enforces."""

import pytest
from pydantic import BaseModel

from sgrnn.config.recipe import Recipe
from sgrnn.config.reference import FieldReference, reference
from sgrnn.config.schema import sections_in
from sgrnn.errors import InputError


def field(address: str) -> FieldReference:
    """The one field that has an address."""
    (section,) = reference(address)
    (found,) = section.fields
    return found


def sections(section: type[BaseModel]) -> set[type[BaseModel]]:
    """The section and all that are within it."""
    return {section}.union(
        *(sections(inner) for known in section.model_fields.values() for inner in sections_in(known.annotation))
    )


def test_every_field_and_every_section_has_a_meaning() -> None:
    described = reference()
    for section in described:
        assert section.meaning.endswith("."), f"{section.title} needs a docstring"
        for each in section.fields:
            assert each.meaning.endswith("."), f"{each.name} needs a docstring beneath it"
    everything = {each.name for section in described for each in section.fields}
    last = {name.rpartition(".")[2] for name in everything}
    assert {name for section in sections(Recipe) for name in section.model_fields} == last
    assert len(everything) > 80


@pytest.mark.parametrize(
    ("address", "takes", "default"),
    [
        ("training.epochs", "whole number from 1", "required"),
        ("training.span", "whole number from 1, or null", "default null"),
        ("training.diagnosis.spans", "whole number from 2", "default 20"),
        ("training.seed", "whole number from 0, below 9,223,372,036,854,775,808", "default 0"),
        ("training.device", "auto, cpu or cuda", "default auto"),
        ("data.tokenizer.kind", "word, character, bpe or unigram", "default word"),
        ("data.train", "path, or null", "default null"),
        ("model.dropout", "number from 0 to below 1", "default 0.0"),
        ("gradient.synthetic.trace_decay", "number from 0 up to 1", "default 0.0"),
        ("schedule.step.factor", "number above 0 up to 1", "default 0.5"),
        ("optimizer.adam.betas", "list of 2, each number from 0 to below 1", "default [0.9, 0.999]"),
        ("gradient.synthesizer.hidden_sizes", "list, each whole number from 1", "default [256]"),
        ("model.tied", "true or false", "default false"),
        ("sample.prompt", "text", 'default ""'),
    ],
)
def test_a_field_says_what_it_takes_and_what_it_is_if_left_out(address: str, takes: str, default: str) -> None:
    assert field(address)[1:3] == (takes, default)


def test_a_section_says_its_kinds_and_which_it_is_if_left_out() -> None:
    field = {each.name: each for each in reference()[0].fields}
    assert field["schedule"][1:3] == (
        "section of kind constant, step, plateau, cosine, one_cycle or restarts", "default kind: constant"
    )  # fmt: skip
    assert field["model"][1:3] == ("section", "required")
    assert field["data"][1:3] == ("section, or null", "default null")
    assert reference("schedule.step")[0].fields[0] == ("schedule.kind", "step", "required", "Kind of the section.")
    assert reference("model")[1].fields[3][:3] == ("model.slower_levels", "list of sections", "default []")


def test_an_address_may_name_kinds_or_leave_them_out() -> None:
    def titles(address: str) -> list[str]:
        return [section.title for section in reference(address)]

    assert titles("gradient.bp_lambda") == ["gradient.bp_lambda"]
    assert titles("schedule.kind") == ["schedule.constant", *titles("schedule")[2:]]
    assert titles("gradient.window") == [
        "gradient.checkpointed", "gradient.truncated", "gradient.exact", "gradient.synthetic",
    ]  # fmt: skip
    assert titles("gradient.synthesizer.rank") == titles("gradient.synthetic.synthesizer.rank") == [
        "gradient.synthesizer.error", "gradient.synthesizer.diagonal", "gradient.synthesizer.adjoint"
    ]  # fmt: skip
    assert titles("training.diagnosis") == ["training", "training.diagnosis"]
    assert {title.split(".")[0] for title in titles("gradient")} == {"", "gradient"}


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("lookahead", "did you mean gradient.lookahead or gradient.synthesizer.lookahead?"),
        ("gradient.synthetc", "did you mean gradient.synthetic?"),
        ("training.epoch", "did you mean training.epochs?"),
        ("windw", "did you mean gradient.window?"),
        ("xyzzy", "`sgrnn recipes fields` prints all there are"),
    ],
)
def test_an_unknown_address_is_refused_with_close_names(address: str, remedy: str) -> None:
    with pytest.raises(InputError) as refused:
        reference(address)
    assert str(refused.value) == f"a recipe has no section or field {address!r}; {remedy}"
