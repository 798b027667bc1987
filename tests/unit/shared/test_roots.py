"""Named roots: what requests may name, and that nothing leads out of them."""

import os
from pathlib import Path

import pytest

from shared.errors import ErrorCode, PermanentJobError
from shared.roots import Roots, check_directory, check_roots


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "2024" / "summer").mkdir(parents=True)
    (tmp_path / "private").mkdir()
    return root


@pytest.mark.parametrize("directory", ["photos", "photos/2024/summer", "a b/ü/...", "photos/~"])
def test_a_root_and_folders_below_it_may_be_named(directory: str) -> None:
    assert check_directory(directory) == directory
    assert check_directory(f"{directory}/") == directory


@pytest.mark.parametrize(
    ("directory", "says"),
    [
        ("/etc", "absolute"),
        ("photos/../private", r"\.\."),
        ("..", r"\.\."),
        ("photos\\..\\private", "backslash"),
        ("photos\0", "NUL"),
        ("photos//2024", "root, then folders"),
        ("photos/./2024", "root, then folders"),
        ("", "root, then folders"),
        ("/", "absolute"),
    ],
)
def test_paths_of_the_machine_are_refused(directory: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_directory(directory)


@pytest.mark.parametrize("folders", [{"a/b": "/x"}, {"": "/x"}, {"a": "x"}, {"a": "/x/../etc"}, {"a" * 65: "/x"}])
def test_roots_have_plain_names_and_absolute_folders(folders: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"root|absolute"):
        check_roots(folders)


def test_a_directory_is_found_below_its_root(photos: Path) -> None:
    opened = Roots({"photos": str(photos)}).open("t", "photos/2024/summer/")
    assert (opened.root, opened.folder) == (photos, photos / "2024" / "summer")
    assert opened.source == "photos/2024/summer"


def test_an_unknown_root_lists_the_known_ones(photos: Path) -> None:
    with pytest.raises(PermanentJobError, match=r"no root 'etc'\. Known roots: photos, scans"):
        Roots({"scans": "/nowhere", "photos": str(photos)}).open("t", "etc/passwd")


def test_a_tenant_has_a_folder_of_its_own(tmp_path: Path) -> None:
    for tenant in ("one", "two"):
        (tmp_path / tenant).mkdir()
    roots = Roots({"own": f"{tmp_path}/{{tenant}}"})
    assert roots.open("one", "own").folder == tmp_path / "one"
    assert roots.open("two", "own").source == "own"
    for stranger in ("three", "..", "one/../two"):
        with pytest.raises(PermanentJobError) as refusal:
            roots.open(stranger, "own")
        assert refusal.value.code is ErrorCode.INVALID_INPUT
        assert str(tmp_path) not in refusal.value.message, "paths of the machine are nobody's business"


def test_what_is_no_folder_inside_the_root_is_refused(photos: Path) -> None:
    (photos / "out").symlink_to(photos.parent / "private")
    (photos / "loop").symlink_to("loop")
    (photos / "file").write_text("x")
    (photos / "inside").symlink_to("2024/summer")
    roots = Roots({"photos": str(photos)})
    for name, says in {
        "out": "leads out",
        "loop": "cannot be read",
        "file": "no folder",
        "gone": "No such file",
    }.items():
        with pytest.raises(PermanentJobError, match=says):
            roots.open("t", f"photos/{name}")
    assert roots.open("t", "photos/inside").source == "photos/2024/summer", "a folder has one name"


def test_a_link_to_a_folder_whose_name_cannot_be_kept_is_refused(photos: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9"))
    (odd / "inner").mkdir(parents=True)
    (photos / "inside").symlink_to(odd / "inner")
    with pytest.raises(PermanentJobError, match="not UTF-8") as refusal:
        Roots({"photos": str(photos)}).open("t", "photos/inside")
    assert refusal.value.message.isprintable()
