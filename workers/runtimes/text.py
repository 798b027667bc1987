"""Texts to tokens, and tokens through an open_clip text tower without its padding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# No token of CLIP's vocabulary spells more characters than this, so a text of so many characters a token fills the
# context; byte-pair encoding takes quadratic time on one long word.
_CHARACTERS_A_TOKEN = 64
_MAX_CACHED_WORDS = 100_000


@dataclass(frozen=True)
class Tokens:
    """`ids`: `(n, context)` int64, padded. `truncated`: which texts did not fit."""

    ids: NDArray[np.int64]
    truncated: list[bool]


class Tokenizer(Protocol):
    """Turns texts into tokens of a fixed context length."""

    def __call__(self, texts: Sequence[str]) -> Tokens: ...


class FileTokenizer:
    """Reads a `tokenizer.json` with the tokenizers library alone.

    Same tokens as open_clip's HFTokenizer in its standard mode, without importing transformers for it.
    """

    def __init__(self, file: Path, context: int, pad_token: str, clean: Callable[[str], str]) -> None:
        from tokenizers import Tokenizer as Rust

        self._rust = Rust.from_file(str(file))
        self._rust.no_padding()
        self._rust.enable_truncation(context)
        self._context = context
        self._pad = int(self._rust.token_to_id(pad_token) or 0)
        self._clean = clean

    def __call__(self, texts: Sequence[str]) -> Tokens:
        encodings = self._rust.encode_batch([self._clean(_bounded(text, self._context)) for text in texts])
        ids = np.full((len(texts), self._context), self._pad, dtype=np.int64)
        for row, encoding in zip(ids, encodings, strict=True):
            row[: len(encoding.ids)] = encoding.ids
        return Tokens(ids, [bool(encoding.overflowing) for encoding in encodings])


class LibraryTokenizer:
    """Any tokenizer that open_clip builds (`open_clip.get_tokenizer`)."""

    def __init__(self, tokenizer: Any, context: int) -> None:
        self._tokenizer = tokenizer
        self._context = context

    def __call__(self, texts: Sequence[str]) -> Tokens:
        bounded = [_bounded(text, self._context) for text in texts]
        ids = np.asarray(self._tokenizer(bounded, context_length=self._context), dtype=np.int64)
        truncated = [self._length(text) > self._context for text in bounded]
        self._forget_words()
        return Tokens(ids, truncated)

    def _length(self, text: str) -> int:
        """Tokens of the whole text with its start and end."""
        if hasattr(self._tokenizer, "encode"):
            return len(self._tokenizer.encode(text)) + 2
        return len(self._tokenizer.tokenizer(text, truncation=False).input_ids)

    def _forget_words(self) -> None:
        """open_clip's tokenizer remembers every word it ever met; a worker that runs for months must not."""
        cache = getattr(self._tokenizer, "cache", None)
        if isinstance(cache, dict) and len(cache) > _MAX_CACHED_WORDS:
            special = {word: word for word in cache if cache[word] == word}
            cache.clear()
            cache.update(special)


class TextTower:
    """The text half of an open_clip model, run on no more positions than its longest text has.

    Exact where attention is causal and the vector is read at one token's position (`argmax` or `eos` pooling): later
    positions, all padding, cannot reach it. Other towers run at full length.
    """

    def __init__(self, model: Any) -> None:
        """`model`: an open_clip `CLIP` (its text tower lies flat in the model) or one with a `text` tower."""
        self._model = model
        self._parts = getattr(model, "text", model)
        self._pool = getattr(model, "text_pool_type", getattr(self._parts, "pool_type", None))
        self._eos = getattr(model, "text_eos_id", getattr(self._parts, "eos_id", None))
        self.trims = (
            self._pool in ("argmax", "eos")
            and getattr(self._parts, "attn_mask", None) is not None
            and getattr(self._parts, "cls_emb", None) is None
            and hasattr(self._parts, "token_embedding")
        )

    def __call__(self, ids: Any) -> Any:
        """Token ids `(n, context)` to features `(n, d)`, not normalised."""
        return self._trimmed(ids) if self.trims else self._model.encode_text(ids)

    def _trimmed(self, ids: Any) -> Any:
        """`CLIP.encode_text` and `TextTransformer.forward` of open_clip 3.3, cut to the last position that counts."""
        import torch

        parts = self._parts
        marks = ids if self._pool == "argmax" else (ids == self._eos).int()
        position = marks.argmax(dim=-1)
        length = int(position.max()) + 1
        dtype = parts.transformer.get_cast_dtype()
        x = parts.token_embedding(ids[:, :length]).to(dtype) + parts.positional_embedding[:length].to(dtype)
        x = parts.transformer(x, attn_mask=parts.attn_mask[:length, :length])
        x = parts.ln_final(x[torch.arange(len(x), device=x.device), position])
        projection = parts.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection


def _bounded(text: str, context: int) -> str:
    return " ".join(text.split())[: context * _CHARACTERS_A_TOKEN]
