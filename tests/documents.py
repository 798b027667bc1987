"""The Markdown files of the project, and the blocks in them.

A block is a fenced one. An HTML comment right above it, which no reader sees, says what tests do with it:
`<!-- expect: A | B -->` runs it in a shell, where all of its output together must hold A and B;
`<!-- file: PATH -->` is the whole of a file, `<!-- change: PATH -->` a change to one (see `changed`).
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(?:^<!-- (\w+): (.*?) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block. `verb` and `note` come from the comment above it, empty without one."""

    document: Path
    line: int
    language: str
    text: str
    verb: str = ""
    note: str = ""

    @property
    def expected(self) -> list[str]:
        return [part.strip() for part in self.note.split(" | ")]

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def documents() -> list[Path]:
    """Every page that a reader may come to."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").glob("*.md")]
    return sorted(page for page in pages if page.is_file())


def blocks(document: Path, verb: str | None = None) -> list[Block]:
    """The fenced blocks of a page, in their order; those with that verb only, where one is given."""
    text = document.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start(3)) + 1
        found.append(Block(document, line, match[3], match[4], match[1] or "", match[2] or ""))
    return [block for block in found if verb is None or block.verb == verb]


def changed(text: str, change: str) -> str:
    """A file after a change written as `+` lines, `-` lines, and lines with a space that are there before and after.

    Raises:
        ValueError: the file does not hold, once, what the change begins from.
    """
    lines = change.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    if text.count(before) != 1:
        raise ValueError(f"the file holds this {text.count(before)} times, not once:\n{before}")
    return text.replace(before, after)
