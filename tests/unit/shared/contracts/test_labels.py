"""Labels and templates: what they may be, and that the error says where and how to mend it."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts.common import Contract
from shared.contracts.labels import DEFAULT_TEMPLATES, MAX_LABELS, MAX_TEMPLATES, Labels, Templates, prompt_of


class Both(Contract):
    labels: Labels = ["cat"]
    templates: Templates = list(DEFAULT_TEMPLATES)


def test_labels_lose_the_space_round_them_and_keep_their_order() -> None:
    assert Both(labels=[" dog", "Cat ", "Victory Day"]).labels == ["dog", "Cat", "Victory Day"]


@pytest.mark.parametrize(
    ("given", "where", "says"),
    [
        ({"labels": []}, ("labels",), "at least 1 item"),
        ({"labels": ["cat", "  "]}, ("labels", 1), "at least 1 character"),
        ({"labels": ["cat", "x" * 201]}, ("labels", 1), "at most 200 characters"),
        ({"labels": ["Straße", "dog", " STRASSE "]}, ("labels",), "'STRASSE' at 2 is the label at 0 again"),
        ({"labels": [str(n) for n in range(MAX_LABELS + 1)]}, ("labels",), "at most 1000 items"),
        ({"labels": [str(n) for n in range(10_000)]}, ("labels",), "at most 1000 items"),
        ({"labels": ["cat", 3]}, ("labels", 1), "valid string"),
        ({"labels": "cat"}, ("labels",), "valid list"),
        ({"templates": []}, ("templates",), "at least 1 item"),
        ({"templates": ["a photo"]}, ("templates", 0), "not 0 times"),
        ({"templates": ["a {}", "{} of {}"]}, ("templates", 1), "not 2 times"),
        ({"templates": ["a {label}"]}, ("templates", 0), "not 0 times"),
        ({"templates": ["{}" + "x" * 500]}, ("templates", 0), "at most 500 characters"),
        ({"templates": ["a {}"] * (MAX_TEMPLATES + 1)}, ("templates",), "at most 100 items"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], where: tuple[str | int, ...], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Both.model_validate(given)
    (error,) = caught.value.errors()
    assert error["loc"] == where
    assert says in error["msg"]


def test_braces_in_a_label_or_a_template_mean_nothing() -> None:
    (template,) = Both(templates=["{0} a {} of {x}"]).templates
    assert prompt_of(template, "{} {y}") == "{0} a {} {y} of {x}"
