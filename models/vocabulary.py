"""Cuts CLIP's BPE vocabulary (49,408 entries) down to the words a starter model meets.

Byte-pair encoding merges by rank, so a cut list that keeps every merge the full list performs on a word encodes that
word into the very same pieces. Other words fall back to shorter pieces and, in the end, to single bytes, all of which
are kept: nothing is ever out of vocabulary.
"""

import gzip
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import regex  # type: ignore[import-untyped]
from transformers import CLIPTokenizer

PAD, START, END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"
_CLIP_MERGES = 49152 - 256 - 2  # as in simple_tokenizer.py of openai/CLIP
_WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")

Merge = tuple[str, str]


def clip_merges(path: Path) -> list[Merge]:
    """CLIP's merges, most frequent first, from the ``bpe_simple_vocab_16e6.txt.gz`` that open_clip carries."""
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : _CLIP_MERGES + 1]
    return [(left, right) for left, right in (line.split() for line in lines)]


def cut_merges(merges: list[Merge], texts: Iterable[str], entries: int) -> list[Merge]:
    """The merges that encode ``texts`` exactly, topped up with the most frequent ones to ``entries`` tokens in all.

    Order is kept. When the texts alone need more than ``entries``, all they need is kept all the same.
    """
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    words = {word for text in texts for word in _WORD.findall(text.lower())}
    used = {rank for word in words for rank in _ranks_used(word, ranks)}
    room = entries - len(_byte_symbols()) * 2 - len((PAD, START, END))
    # A merge's parts come from merges of lower rank, so topping up from the front never leaves a part missing.
    for rank in range(len(merges)):
        if len(used) >= room:
            break
        used.add(rank)
    return [merges[rank] for rank in sorted(used)]


def build_tokenizer(merges: list[Merge], context: int) -> CLIPTokenizer:
    """A tokenizer over the cut merges: padding is id 0, the end token has the highest id.

    open_clip finds the end of a text as the position of the highest id, and pads with 0.
    """
    symbols = _byte_symbols()
    pieces = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(merge) for merge in merges)]
    vocabulary = {piece: index for index, piece in enumerate([PAD, *pieces, START, END])}
    pairs: Any = merges  # typed as strings, taken as pairs too
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=pairs,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=PAD,
        model_max_length=context,
    )


def _ranks_used(word: str, ranks: dict[Merge, int]) -> list[int]:
    """The ranks of the merges that byte-pair encoding performs on one word."""
    symbols = _byte_symbols()
    pieces = [symbols[byte] for byte in word.encode("utf-8")]
    pieces[-1] += "</w>"
    used = []
    while len(pieces) > 1:
        best = min(pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        used.append(ranks[best])
        pieces = _merge(pieces, best)
    return used


def _merge(pieces: list[str], pair: Merge) -> list[str]:
    merged: list[str] = []
    index = 0
    while index < len(pieces):
        if tuple(pieces[index : index + 2]) == pair:
            merged.append(pieces[index] + pieces[index + 1])
            index += 2
        else:
            merged.append(pieces[index])
            index += 1
    return merged


def _byte_symbols() -> list[str]:
    """A printable character for each of the 256 bytes, as GPT-2 and CLIP choose them."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    symbols = {byte: chr(byte) for byte in shown} | {byte: chr(256 + rank) for rank, byte in enumerate(hidden)}
    return [symbols[byte] for byte in range(256)]
