"""Labels to tag pictures with, and the templates that make prompts of them: one rule for jobs and label sets."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

MAX_LABELS = 1_000
MAX_LABEL_CHARACTERS = 200
MAX_TEMPLATES = 100
MAX_TEMPLATE_CHARACTERS = 500
MAX_PROMPTS = 16_000
"""Labels times templates: each is a text that the model reads."""
SLOT = "{}"
"""Where a template takes the label."""
DEFAULT_TEMPLATES = ("a photo of a {}",)


def _once_each(labels: list[str]) -> list[str]:
    first: dict[str, int] = {}
    for index, label in enumerate(labels):
        earlier = first.setdefault(label.casefold(), index)
        if earlier != index:
            raise ValueError(
                f"{label!a} at {index} is the label at {earlier} again (case and space round it do not count); "
                "give each label once"
            )
    return labels


def _with_one_slot(template: str) -> str:
    count = template.count(SLOT)
    if count != 1:
        raise ValueError(f"must hold {SLOT} exactly once, where the label goes, not {count} times")
    return template


Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_LABEL_CHARACTERS)]
Template = Annotated[str, StringConstraints(max_length=MAX_TEMPLATE_CHARACTERS), AfterValidator(_with_one_slot)]
Labels = Annotated[list[Label], Field(min_length=1, max_length=MAX_LABELS), AfterValidator(_once_each)]
"""1 to MAX_LABELS labels without space round them, each once whatever its case, in the order given."""
Templates = Annotated[list[Template], Field(min_length=1, max_length=MAX_TEMPLATES)]
"""1 to MAX_TEMPLATES templates; the vectors of a label's prompts are averaged."""
LabelSetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


def check_prompts(labels: int, templates: int) -> None:
    """Raises ValueError when so many labels and templates make more prompts than a job may have."""
    prompts = labels * templates
    if prompts > MAX_PROMPTS:
        raise ValueError(f"make {prompts:,} prompts with so many labels; at most {MAX_PROMPTS:,} may be made")


def prompt_of(template: str, label: str) -> str:
    """The text that stands for a label: `a photo of a {}` and `cat` make `a photo of a cat`."""
    return template.replace(SLOT, label)
