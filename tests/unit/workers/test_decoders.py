"""However many threads there are, few large pictures are held decoded at once."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from PIL import Image

from shared.images.decode import DecodeLimits
from shared.images.fetch import FetchPolicy
from tests.fakes.images import encoded
from tests.fakes.services import MemoryFiles
from workers.pictures import DECODERS, SMALL_PIXELS, PictureLoader

LARGE = encoded(Image.new("RGB", (SMALL_PIXELS // 1000 + 1, 1000), "white"), "PNG")
SMALL = encoded(Image.new("RGB", (SMALL_PIXELS // 1000, 1000), "white"), "PNG")


@pytest.fixture
def loader() -> PictureLoader:
    files: Any = MemoryFiles()
    return PictureLoader(files, FetchPolicy(), DecodeLimits(), threads=1)


@pytest.fixture
def held(loader: PictureLoader) -> Iterator[ExitStack]:
    """As many large pictures as there are decoders."""
    with ExitStack() as held:
        for _ in range(DECODERS):
            held.enter_context(loader.decoded(LARGE))
        yield held


def test_a_large_picture_counts_until_its_block_ends(loader: PictureLoader, held: ExitStack) -> None:
    decoded = threading.Event()

    def another() -> None:
        with loader.decoded(LARGE):
            decoded.set()

    thread = threading.Thread(target=another)
    thread.start()
    assert not decoded.wait(0.2)
    held.close()
    thread.join(10)
    assert decoded.is_set()


def test_small_ones_do_not_count_once_they_are_decoded(loader: PictureLoader) -> None:
    done = threading.Event()

    def many() -> None:
        with ExitStack() as held:
            sizes = {held.enter_context(loader.decoded(SMALL)).size for _ in range(DECODERS + 1)}
        assert len(sizes) == 1
        done.set()

    thread = threading.Thread(target=many, daemon=True)
    thread.start()
    assert done.wait(10)
