import pytest
from PIL import Image

from shared.images.shape import bound_for_model


@pytest.mark.parametrize("size", [(1, 1), (640, 480), (480, 640), (8000, 1000), (1, 36), (36, 1), (50_000, 2000)])
def test_ordinary_pictures_are_left_alone(size: tuple[int, int]) -> None:
    image = Image.new("1", size)
    assert bound_for_model(image, 224) is image


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 65_500), (65_500, 3), (65_500, 600), (37, 1), (2, 75)])
@pytest.mark.parametrize("side", [64, 224, 384, 1024])
def test_long_pictures_are_bounded(size: tuple[int, int], side: int) -> None:
    image = Image.new("1", size)
    bounded = bound_for_model(image, side)
    short, long = sorted(bounded.size)
    assert short == min(size)
    assert side * long / short <= max(8192, 16 * side)
    if bounded is not image:
        assert side * (long + 2) / short >= max(8192, 16 * side) - side
        assert (max(size) - long) % 2 == 0


def test_the_centre_stays() -> None:
    image = Image.new("L", (3001, 1))
    image.putpixel((1500, 0), 255)
    bounded = bound_for_model(image, 224)
    assert bounded.getpixel((bounded.width // 2, 0)) == 255
    assert bounded.width % 2 == 1
