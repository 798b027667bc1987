"""What is said about each emoji while training, and which other emoji the same words are true of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.sources import Emoji

TEMPLATES = (
    "a {}",
    "the {}",
    "{} emoji",
    "an emoji of a {}",
    "an icon of a {}",
    "a picture of a {}",
    "a picture of {}",
    "a photo of a {}",
    "a drawing of a {}",
    "a cartoon {}",
    "an image of {}",
    "one {}",
)
_BARE = 0.5  # how often a caption comes without a template
_COUNTABLE = frozenset({"animals-nature", "food-drink", "travel-places", "activities", "objects"})


@dataclass(frozen=True)
class Caption:
    """A text and the index of the phrase it is about, whose ``owners`` it is true of."""

    text: str
    phrase: int


class CaptionBook:
    """Draws captions for emoji, and knows every emoji that each phrase fits.

    ``owners`` is ``(phrases, emoji)`` of bool. An emoji's name belongs to it alone, so that names are told apart; a
    keyword or short name belongs to all emoji that carry it in any form, so that none of them is pushed away from it.
    """

    def __init__(self, emoji: Sequence[Emoji]) -> None:
        self._emoji = emoji
        self._plurals = [_plural(one) for one in emoji]
        shared = sorted({word for one in emoji for word in (*one.tags, *one.aliases)})
        self._phrase = {word: len(emoji) + index for index, word in enumerate(shared)}
        self.owners: npt.NDArray[np.bool_] = np.zeros((len(emoji) + len(shared), len(emoji)), dtype=np.bool_)
        for index, one in enumerate(emoji):
            self.owners[index, index] = True
            for word in (one.name, *one.tags, *one.aliases):
                if word in self._phrase:
                    self.owners[self._phrase[word], index] = True

    def texts(self) -> list[str]:
        """Every text that the vocabulary has to encode exactly."""
        spoken = [word for one in self._emoji for word in (one.name, *one.tags, *one.aliases)]
        return [*spoken, *self._plurals, *TEMPLATES]

    def draw(self, index: int, random: np.random.Generator) -> Caption:
        """A random caption for the emoji at ``index``: mostly its name, else a short name or one of its keywords."""
        one = self._emoji[index]
        choice = random.random()
        if choice < 0.18 and one.tags:
            return self._about(_pick(one.tags, random), random)
        if choice < 0.33 and one.aliases:
            return self._about(_pick(one.aliases, random), random)
        if choice < 0.38:
            return Caption(self._plurals[index], index)
        if choice < 0.48 and one.tags:
            return Caption(f"{one.name}, {_pick(one.tags, random)}", index)
        return Caption(_dress(one.name, random), index)

    def _about(self, words: str, random: np.random.Generator) -> Caption:
        return Caption(_dress(words, random), self._phrase[words])


def _dress(words: str, random: np.random.Generator) -> str:
    if random.random() < _BARE:
        return words
    text = _pick(TEMPLATES, random).format(words)
    return text.replace(" a " + words, " an " + words) if words[0] in "aeiou" else text


def _plural(emoji: Emoji) -> str:
    """The name as a plural where it names a thing that can be counted, else the bare name."""
    if emoji.group not in _COUNTABLE or ":" in emoji.name or emoji.name.endswith("s"):
        return emoji.name
    return emoji.name + ("es" if emoji.name.endswith(("ch", "sh", "x")) else "s")


def _pick(options: Sequence[str], random: np.random.Generator) -> str:
    return options[int(random.integers(len(options)))]
