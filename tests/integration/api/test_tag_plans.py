"""Questions about tags follow an index: pages do not slow down as the table grows."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, get_args

import pytest

from shared.tags import edits
from shared.tags.filtering import TagFilter
from shared.tags.paging import Position, Sort, page_statement
from shared.tags.statistics import statistics_statement
from tests.integration.api.plans import plan, run_all

ROWS = 20_000
FILL = f"""
INSERT INTO tagged_images (tenant, image_path, found_tags, exif_datetime)
SELECT 'tenant' || n % 4, 'photos/' || n || '.jpg',
  jsonb_build_array(jsonb_build_object('tag', 'rare ' || n / 40, 'score', n % 7 / 7.0),
                    jsonb_build_object('tag', 'common', 'score', n % 5 / 5.0)),
  CASE WHEN n % 10 > 0 THEN timestamp '2020-01-01' + n * interval '1 hour' END
FROM generate_series(1, {ROWS}) n
"""
MAY = {"taken_after": datetime(2021, 5, 1), "taken_before": datetime(2021, 6, 1)}


@pytest.fixture(scope="module")
def url(make_database: Callable[[], str]) -> str:
    url = make_database()
    run_all(url, FILL, "VACUUM ANALYZE tagged_images")
    return url


@pytest.mark.parametrize("sort", get_args(Sort))
@pytest.mark.parametrize(
    "narrowed",
    [{"all": ("rare 7",)}, {"all": ("common", "rare 7"), "min_score": 0.5}, {"any": ("rare 7", "rare 90")}],
    ids=str,
)
async def test_tags_are_found_by_the_index_on_them(url: str, sort: Sort, narrowed: dict[str, Any]) -> None:
    statement, arguments = page_statement(TagFilter("tenant2", **narrowed), sort, after=None, limit=101)
    assert "ix_tagged_images_tags" in await plan(url, statement, *arguments)


async def test_so_are_they_for_statistics(url: str) -> None:
    statement, arguments = statistics_statement(TagFilter("tenant2", all=("rare 7",)), limit=10, months_of="common")
    assert "ix_tagged_images_tags" in await plan(url, statement, *arguments)


@pytest.mark.parametrize(
    ("sort", "key", "index"),
    [
        ("taken", datetime(2021, 3, 4), "ix_tagged_images_taken"),
        ("-taken", datetime(2021, 3, 4), "ix_tagged_images_taken"),
        ("path", "photos/5", "uq_tagged_images_tenant_image_path"),
        ("-path", "photos/5", "uq_tagged_images_tenant_image_path"),
    ],
)
@pytest.mark.parametrize("narrowed", [{}, {"all": ("common",)}, {"none": ("rare 7",)}], ids=str)
async def test_a_page_of_many_follows_its_order(
    url: str, sort: Sort, key: Any, index: str, narrowed: dict[str, Any]
) -> None:
    filter = TagFilter("tenant2", **narrowed)
    for after in (None, Position(key, 700)):
        statement, arguments = page_statement(filter, sort, after=after, limit=101)
        shown = await plan(url, statement, *arguments)
        assert index in shown
        assert "ix_tagged_images_tags" not in shown


@pytest.mark.parametrize("sort", ["score", "-score"])
@pytest.mark.parametrize("narrowed", [{}, {"none": ("rare 7",)}], ids=str)
async def test_so_does_one_by_the_best_score(url: str, sort: Sort, narrowed: dict[str, Any]) -> None:
    for after in (None, Position(0.5, 700)):
        statement, arguments = page_statement(TagFilter("tenant2", **narrowed), sort, after=after, limit=101)
        shown = await plan(url, statement, *arguments)
        assert "ix_tagged_images_score" in shown
        assert "Sort" not in shown
    untagged, arguments = page_statement(
        TagFilter("tenant2"), sort, after=Position(None, 9_000), limit=101, keyless=True
    )
    assert "ix_tagged_images_score" in await plan(url, untagged, *arguments)


async def test_undated_pictures_and_months_follow_an_index(url: str) -> None:
    undated, arguments = page_statement(
        TagFilter("tenant2"), "-taken", after=Position(None, 9_000), limit=101, keyless=True
    )
    assert "Seq Scan" not in await plan(url, undated, *arguments)
    month, arguments = page_statement(TagFilter("tenant2", **MAY), "-score", after=None, limit=101)
    assert "ix_tagged_images_taken" in await plan(url, month, *arguments)


async def test_one_picture_is_found_by_its_path_and_by_its_id(url: str) -> None:
    statement, arguments = page_statement(TagFilter("tenant2", path="photos/6.jpg"), "-score", after=None, limit=101)
    assert "uq_tagged_images_tenant_image_path" in await plan(url, statement, *arguments)
    assert "Seq Scan" not in await plan(url, edits.EDIT, 6, "tenant2", ["a"], ["b"])
