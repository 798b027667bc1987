"""What a `tag` job may ask for, and that a refusal names the field."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts.tag import DEFAULT_LABELS, TAG, TagInput

URL = "https://example.com/1.jpg"


def given(**fields: Any) -> TagInput:
    return TagInput.model_validate({"images": [URL], **fields})


def test_the_defaults() -> None:
    input = given()
    assert input.labels == list(DEFAULT_LABELS)
    assert len(input.labels) == 14
    assert (input.template, input.best, input.min_score) == (["a photo of a {}"], 4, 0)
    assert (input.multi_label, input.save) == (False, False)
    assert (input.recursive, input.extensions) == (True, [".jpg", ".jpeg", ".png", ".webp"])


def test_top_k_is_as_many_as_there_are_labels_when_these_are_few() -> None:
    assert given(labels=["cat", "dog"]).best == 2
    assert given(top_k=14).best == 14
    assert given(labels=["cat"], top_k=1).best == 1


def test_one_template_or_several() -> None:
    assert given(template="a {}").template == ["a {}"]
    assert given(template=["a {}", "the {}"]).template == ["a {}", "the {}"]


def test_a_directory_takes_the_pictures_place() -> None:
    input = TagInput.model_validate({"directory": "photos/2024/", "extensions": [".JPG"], "recursive": False})
    assert (input.images, input.directory, input.extensions) == (None, "photos/2024", [".jpg"])


@pytest.mark.parametrize(
    ("fields", "where", "says"),
    [
        ({"labels": []}, "labels", "at least 1"),
        ({"labels": ["cat", " CAT "]}, "labels", "once"),
        ({"labels": ["cat", ""]}, "labels.1", "at least 1"),
        ({"labels": [str(number) for number in range(10_000)]}, "labels", "at most 1000"),
        ({"labels": ["cat", "dog"], "top_k": 3}, "top_k", "more than the 2 labels"),
        ({"top_k": 15}, "top_k", "more than the 14 labels"),
        ({"top_k": 0}, "top_k", "greater than or equal to 1"),
        ({"template": "a photo"}, "template.0", "exactly once"),
        ({"template": ["a {}", "{} {}"]}, "template.1", "exactly once"),
        ({"template": []}, "template", "at least 1"),
        ({"labels": [str(n) for n in range(1_000)], "template": ["{}"] * 17}, "template", "17,000 prompts"),
        ({"min_score": 1.5}, "min_score", "less than or equal to 1"),
        ({"label_set": "a b"}, "label_set", "pattern"),
        ({"labels": ["cat"], "label_set": "pets"}, "", "either labels or label_set"),
        ({"directory": "photos"}, "", "either images or directory"),
        ({"images": None}, "", "either images or directory"),
        ({"images": []}, "images", "at least 1"),
        ({"images": [URL] * 257}, "images", "at most 256"),
        ({"save": True, "images": [URL + "?" + "x" * 1_000]}, "", r"images\.0\.url is too long"),
        ({"images": None, "directory": "../etc"}, "directory", r"\.\."),
        ({"images": None, "directory": "/etc"}, "directory", "absolute"),
        ({"images": None, "directory": "photos\\x"}, "directory", "backslash"),
        ({"images": None, "directory": "photos\0"}, "directory", "NUL"),
        ({"images": None, "directory": "photos", "extensions": ["jpg"]}, "extensions.0", "pattern"),
        ({"images": None, "directory": "photos", "extensions": []}, "extensions", "at least 1"),
        ({"colour": "red"}, "colour", "Extra inputs"),
    ],
)
def test_a_refusal_names_the_field_and_the_fault(fields: dict[str, Any], where: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says) as refusal:
        given(**fields)
    assert [".".join(map(str, fault["loc"])) for fault in refusal.value.errors()] == [where]


def test_bulk_work_goes_out_of_the_way() -> None:
    small, large = given(images=[URL] * 64, model="m"), given(images=[URL] * 65, model="m")
    folder = TagInput.model_validate({"directory": "photos", "model": "m"})
    assert [TAG.queue_for(input) for input in (small, large, folder)] == ["tag", "clip_batch", "clip_batch"]
    assert TAG.batch_key(small) == TAG.batch_key(given(labels=["cat"], model="m"))
    assert TAG.batch_key(small) != TAG.batch_key(given(model="other"))
    assert TAG.batch_key(folder) is None, "a directory runs alone"
