import hashlib

from PIL import Image

from shared.images.hashing import STRIP, file_hash, pixel_hash
from tests.fakes import images as fake


def test_file_hash() -> None:
    assert file_hash(b"abc") == hashlib.sha256(b"abc").hexdigest() == file_hash([b"a", b"", b"bc"])


def test_pixel_hash_sees_pixels_mode_and_size_only() -> None:
    image = fake.quarters(8, 8)
    same = image.copy()
    same.info["comment"] = "other"
    assert pixel_hash(image) == pixel_hash(same)
    other = image.copy()
    other.putpixel((7, 7), (1, 2, 3))
    blank = [Image.new("L", (2, 8)), Image.new("L", (4, 4)), Image.new("L", (8, 2)), Image.new("P", (4, 4))]
    assert len({pixel_hash(i) for i in (image, other, *blank)}) == 6


def test_pixel_hash_of_a_tall_picture_is_of_all_of_its_rows_at_once() -> None:
    image = fake.quarters(3, 2 * STRIP + 5)
    whole = hashlib.sha256(f"RGB 3x{image.height}\n".encode() + image.tobytes()).hexdigest()
    assert pixel_hash(image) == whole
