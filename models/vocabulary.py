"""Cuts CLIP's BPE vocabulary (49,408 entries) down to the words a starter model meets.

Byte-pair encoding merges by rank, so a cut list that keeps every merge which the full list performs on a word encodes
that word into the same pieces. Unknown words fall back to shorter pieces and, in the end, to single bytes, all of
which are kept: nothing is ever out of vocabulary.
"""

import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

PAD, START, END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"
_FULL_MERGES = 49152 - 256 - 2  # as in CLIP's simple_tokenizer.py
_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

Merge = tuple[str, str]


def clip_merges(path: Path) -> list[Merge]:
    """CLIP's merges, most frequent first, from the ``bpe_simple_vocab_16e6.txt.gz`` that open_clip carries."""
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : _FULL_MERGES + 1]
    return [(left, right) for left, right in (line.split() for line in lines)]
