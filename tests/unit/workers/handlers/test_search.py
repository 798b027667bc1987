"""`search` with a fake model and a memory vector store."""

from typing import Any

import numpy as np
import pytest

from shared.contracts.index import IndexInput
from shared.contracts.search import SearchInput, SearchOutput
from shared.errors import ErrorCode, JobError
from tests.fakes.services import Room
from workers.handlers import index
from workers.handlers.search import handle

from .pictures import COLOURS, inline, png


@pytest.fixture
def room() -> Room:
    """A collection `c` of three shades of each colour."""
    room = Room()
    items = [
        {"id": f"{colour}-{n}", "image": inline(png(colour, 20 * n)), "payload": {"colour": colour, "n": n}}
        for colour in COLOURS
        for n in range(3)
    ]
    input = IndexInput.model_validate({"collection": "c", "items": items})
    index.handle([input], room.context(room.job()))
    return room


def search(room: Room, **input: Any) -> Any:
    parsed = SearchInput.model_validate({"collection": "c", **input})
    return handle([parsed], room.context(room.job()))[0]


def ids(output: Any) -> list[str]:
    assert isinstance(output, SearchOutput), output
    return [result.id for result in output.results]


def test_a_text_finds_the_pictures_that_it_names(room: Room) -> None:
    assert all(id.startswith("blue") for id in ids(search(room, text="blue", top_k=3)))


def test_a_picture_finds_itself_first(room: Room) -> None:
    output = search(room, image=inline(png("green", 20)), top_k=2)
    assert output.results[0].id == "green-1"
    assert output.results[0].score == pytest.approx(1, abs=1e-5)
    assert output.results[0].payload == {"colour": "green", "n": 1}


def test_an_item_recommends_others_and_not_itself(room: Room) -> None:
    found = ids(search(room, item="red-0", top_k=2))
    assert sorted(found) == ["red-1", "red-2"]


def test_a_vector_is_taken_at_any_length(room: Room) -> None:
    (hit,) = search(room, text="red", top_k=1, include_vectors=True).results
    doubled = [2 * x for x in hit.vector]
    assert ids(search(room, vector=doubled, top_k=1)) == [hit.id]


def test_several_parts_weigh_the_same(room: Room) -> None:
    red, blue = (room.model.encode_texts([word])[0] for word in ("red", "blue"))
    both = search(room, text="red", vector=blue.tolist(), top_k=9, include_vectors=True).results
    mean = (red + blue) / np.linalg.norm(red + blue)
    assert [hit.score for hit in both] == pytest.approx([float(np.dot(mean, hit.vector)) for hit in both], abs=1e-4)


def test_filter_offset_and_least_score(room: Room) -> None:
    everything = search(room, text="red", top_k=9).results
    assert ids(search(room, text="red", top_k=3, offset=2)) == [hit.id for hit in everything[2:5]]
    assert ids(search(room, text="red", filter={"n": 1}, top_k=9)) == [h.id for h in everything if h.payload["n"] == 1]
    bar = everything[3].score
    assert ids(search(room, text="red", min_score=bar, top_k=9)) == [h.id for h in everything if h.score >= bar]


def test_a_batch_embeds_its_texts_together(room: Room) -> None:
    inputs = [SearchInput.model_validate({"collection": "c", "text": word}) for word in ("red", "green", "blue")]
    outputs = handle(inputs, room.context(*(room.job() for _ in inputs)))
    assert [ids(output)[0].split("-")[0] for output in outputs] == ["red", "green", "blue"]
    assert room.model.text_batches[-1] == 3


@pytest.mark.parametrize(
    ("input", "code"),
    [
        ({"collection": "none", "text": "x"}, ErrorCode.COLLECTION_UNKNOWN),
        ({"item": "nobody"}, ErrorCode.ITEM_UNKNOWN),
        ({"vector": [1.0, 2.0]}, ErrorCode.MODEL_MISMATCH),
        ({"vector": [0.0] * 16}, ErrorCode.INVALID_INPUT),
        ({"text": "x", "model": "other"}, ErrorCode.MODEL_MISMATCH),
        ({"text": "x", "filter": {"n": {"near": 1}}}, ErrorCode.INVALID_INPUT),
        ({"image": {"base64": "aGVsbG8="}}, ErrorCode.IMAGE_UNSUPPORTED),
    ],
)
def test_what_cannot_be_searched_fails_alone_with_its_code(room: Room, input: dict[str, Any], code: ErrorCode) -> None:
    inputs = [SearchInput.model_validate({"collection": "c"} | one) for one in (input, {"text": "red"})]
    bad, good = handle(inputs, room.context(room.job(), room.job()))
    assert isinstance(bad, JobError)
    assert bad.code is code
    assert isinstance(good, SearchOutput)


def test_another_tenants_collection_is_unknown(room: Room) -> None:
    input = SearchInput.model_validate({"collection": "c", "text": "red"})
    (output,) = handle([input], room.context(room.job(tenant="other")))
    assert isinstance(output, JobError)
    assert output.code is ErrorCode.COLLECTION_UNKNOWN
