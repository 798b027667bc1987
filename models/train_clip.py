"""Trains the starter CLIP: ``python -m models.train_clip --samples 1000000``.

The recipe is CLIP's (Radford et al. 2021, arXiv:2103.00020) with several positives to a picture, as in supervised
contrastive learning (Khosla et al. 2020, arXiv:2004.11362): a keyword that fits several pictures of a batch is right
for each. Checkpoints are written every minute, and ``--resume`` goes on from the last one.
"""

import argparse
import copy
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import CLIPTokenizer

from workers.runtimes import torchvision_shim

torchvision_shim.install()

import open_clip  # noqa: E402  (torchvision, which it imports, needs the shim first)

from models import architecture, augment, pictures, sources, vocabulary  # noqa: E402
from models.captions import CaptionBook  # noqa: E402

VOCABULARY = 7680  # entries: what the captions need, rounded up to a multiple of 64
_EMA_DECAY = 0.998
_PIECES_DROPOUT = 0.1  # share of captions spelt in random shorter pieces, which unknown words will consist of
_MIRRORED = ("left", "right", "facing", "clock")  # words of names that are untrue of a mirrored picture


@dataclass(frozen=True)
class Batch:
    """``pictures`` ``(n, 3, h, w)`` float32, ``tokens`` ``(m, length)`` int64, ``positive`` ``(n, m)`` bool.

    ``same`` ``(n,)`` int64 numbers the emoji each picture is of.
    """

    pictures: Tensor
    tokens: Tensor
    positive: Tensor
    same: Tensor


class Batches:
    """Makes training batches: ``emoji`` at a time, each with two pictures and one caption."""

    def __init__(self, emoji_per_batch: int, seed: int) -> None:
        self.emoji = pictures.trainable(sources.load_emoji())
        self.book = CaptionBook(self.emoji)
        self.tokenizer = self.build_tokenizer()
        self._spelling = self.build_tokenizer()
        self._spelling.backend_tokenizer.model.dropout = 0.2
        self._drawings = pictures.load_drawings(self.emoji)
        self._may_flip = torch.tensor([_may_flip(one) for one in self.emoji])
        self._count = emoji_per_batch
        self._random = np.random.default_rng(seed)
        self._torch_random = torch.Generator().manual_seed(seed)

    def draw(self) -> Batch:
        """One random batch."""
        chosen = torch.from_numpy(self._random.choice(len(self.emoji), self._count, replace=False))
        captions = [self.book.draw(int(index), self._random) for index in chosen]
        owners = torch.from_numpy(self.book.owners[[caption.phrase for caption in captions]])
        return Batch(
            pictures=self._pictures(chosen),
            tokens=self._encode([caption.text for caption in captions]),
            positive=owners[:, chosen].T.repeat(2, 1),
            same=torch.arange(self._count).repeat(2),
        )

    def _pictures(self, chosen: Tensor) -> Tensor:
        drawings = self._drawings[chosen].float() / 255
        first = drawings[torch.arange(len(chosen)), torch.randint(2, (len(chosen),), generator=self._torch_random)]
        second = augment.blend_vendors(drawings, self._torch_random)
        may_flip = self._may_flip[chosen].repeat(2)
        return augment.augment(torch.cat([first, second]), may_flip, self._torch_random)

    def _encode(self, texts: list[str]) -> Tensor:
        spelt = self._random.random(len(texts)) < _PIECES_DROPOUT
        spellers = [self._spelling if odd else self.tokenizer for odd in spelt]
        limits: dict[str, Any] = {"truncation": True, "max_length": architecture.CONTEXT}
        rows = [spell(text, **limits).input_ids for spell, text in zip(spellers, texts, strict=True)]
        # A few fixed lengths only, so that compiled code is not compiled anew for each.
        length = math.ceil(max(map(len, rows)) / 8) * 8
        return torch.tensor([row + [0] * (length - len(row)) for row in rows])

    def build_tokenizer(self) -> CLIPTokenizer:
        """A tokenizer as it ships; one that has been used remembers how it was asked to truncate."""
        merges = vocabulary.clip_merges(Path(open_clip.tokenizer.default_bpe()))
        kept = vocabulary.cut_merges(merges, self.book.texts(), VOCABULARY)
        return vocabulary.build_tokenizer(kept, architecture.CONTEXT)


class Trainer:
    """The model, its running average, its optimizer, and how far they have come."""

    def __init__(self, options: argparse.Namespace, tokens: int) -> None:
        self.step = 0
        self.options = options
        self.model = architecture.build_model(tokens)
        self.model.visual.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model)
        self.optimizer = torch.optim.AdamW(_parameter_groups(self.model), betas=(0.9, 0.98), eps=1e-6)
        self._encode_image: Callable[[Tensor], Tensor] = self.model.visual
        self._encode_text: Callable[[Tensor], Tensor] = self._text
        if options.compile:
            self._encode_image = torch.compile(self.model.visual)
            self._encode_text = torch.compile(self._text)

    def train_on(self, batch: Batch, progress: float) -> float:
        """One step; ``progress`` is the share of training done, 0..1. Returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate * _schedule(progress)
        with torch.autocast("cpu", torch.bfloat16, enabled=_has_bf16()):
            images = self._encode_image(batch.pictures.contiguous(memory_format=torch.channels_last))
            texts = self._encode_text(batch.tokens)
        loss = self._loss(F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1), batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
        self.step += 1
        self._update_average()
        return float(loss.detach())

    def _update_average(self) -> None:
        """Move the running average of weights and batch statistics; it forgets fast at first, when they are poor."""
        decay = min(_EMA_DECAY, (1 + self.step) / (10 + self.step))
        latest = self.model.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(latest[name], 1 - decay)

    def _loss(self, images: Tensor, texts: Tensor, batch: Batch) -> Tensor:
        scale = self.model.logit_scale.exp()
        logits = scale * images @ texts.T
        loss = (_cross_entropy(logits, batch.positive) + _cross_entropy(logits.T, batch.positive.T)) / 2
        among = (scale * images @ images.T).fill_diagonal_(-math.inf)
        same = (batch.same[:, None] == batch.same).fill_diagonal_(False)
        weight: float = self.options.pictures_weight
        return loss + weight * _cross_entropy(among, same)

    def _text(self, tokens: Tensor) -> Tensor:
        """open_clip's ``encode_text`` on prompts cut to the longest: the same result, for attention is causal."""
        model, length = self.model, tokens.shape[1]
        hidden = model.token_embedding(tokens) + model.positional_embedding[:length]
        mask = model.attn_mask[:length, :length]
        if _has_bf16():
            hidden, mask = hidden.bfloat16(), mask.bfloat16()
        hidden = model.ln_final(model.transformer(hidden, attn_mask=mask))
        return cast(Tensor, hidden[torch.arange(len(tokens)), tokens.argmax(-1)] @ model.text_projection)

    def state(self) -> dict[str, Any]:
        parts = {"model": self.model, "average": self.average, "optimizer": self.optimizer}
        return {"step": self.step, **{name: part.state_dict() for name, part in parts.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


def main() -> None:
    """Train, then write the folder that open_clip loads."""
    options = _options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    sources.fetch()
    checkpoint: Path = options.checkpoint
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    state = torch.load(checkpoint, weights_only=True) if options.resume and checkpoint.exists() else None
    # A resumed run draws other batches than those it has seen.
    batches = Batches(options.emoji, options.seed + (state["step"] if state else 0))
    trainer = Trainer(options, len(batches.tokenizer))
    if state:
        trainer.restore(state)
    run(trainer, batches, checkpoint)
    architecture.export(trainer.average, batches.build_tokenizer(), options.out)


def run(trainer: Trainer, batches: Batches, checkpoint: Path) -> None:
    """Train for the samples asked for, showing samples a second, saving every minute and at the end."""
    samples = 2 * trainer.options.emoji
    steps = trainer.options.samples // samples
    trainer.model.train()
    saved = time.monotonic()
    done = trainer.step * samples
    with tqdm(total=steps * samples, initial=done, unit="samples", unit_scale=True, mininterval=5) as bar:
        for batch in _ahead(batches, steps - trainer.step):
            loss = trainer.train_on(batch, trainer.step / steps)
            bar.update(samples)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if time.monotonic() - saved > 60:
                _save(trainer, checkpoint)
                saved = time.monotonic()
    _save(trainer, checkpoint)


def _ahead(batches: Batches, count: int) -> Iterator[Batch]:
    """Batches, the next being made in a thread while this one is trained on."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(batches.draw)
        for _ in range(count):
            batch = following.result()
            following = pool.submit(batches.draw)
            yield batch


def _save(trainer: Trainer, path: Path) -> None:
    """Written beside and renamed, so that a kill in between leaves the previous checkpoint."""
    partial = path.with_suffix(".partial")
    torch.save(trainer.state(), partial)
    partial.replace(path)


def _cross_entropy(logits: Tensor, positive: Tensor) -> Tensor:
    """Cross entropy against the mean over each row's positives; rows without any do not count."""
    counts = positive.sum(1)
    told = F.log_softmax(logits, dim=1).masked_fill(~positive, 0).sum(1)
    return -(told / counts.clamp(min=1)).sum() / (counts > 0).sum()


def _schedule(progress: float) -> float:
    """A linear start over the first 4 %, then half a cosine down to zero."""
    return min(progress / 0.04 + 0.01, 1.0) * (1 + math.cos(math.pi * progress)) / 2


def _parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Weight decay for matrices only: on gains, biases and positions it does harm."""
    parameters = list(model.named_parameters())
    decayed = [value for name, value in parameters if value.ndim > 1 and "embedding" not in name]
    others = [value for name, value in parameters if value.ndim <= 1 or "embedding" in name]
    return [{"params": decayed, "weight_decay": 0.2}, {"params": others, "weight_decay": 0.0}]


def _may_flip(emoji: sources.Emoji) -> bool:
    return emoji.group not in {"symbols", "flags"} and not any(word in emoji.name for word in _MIRRORED)


def _has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself; emulated, it is slower than float32."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and bool(torch.cpu._is_avx512_bf16_supported())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000, help="pictures to train on, counted each time")
    parser.add_argument("--emoji", type=int, default=192, help="emoji in a batch; each brings two pictures")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--pictures-weight", type=float, default=1.0, help="weight of the picture-to-picture loss")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="a minute at the start, a fifth faster after")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--checkpoint", type=Path, default=sources.CACHE / "clip.pt")
    parser.add_argument("--out", type=Path, default=architecture.STARTER_CLIP)
    return parser.parse_args()


if __name__ == "__main__":
    main()
