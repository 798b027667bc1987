"""Deleting an item stands in the order of submission: before it, no job brings the item back; after it, any may."""

from typing import Any

import httpx
import numpy as np
import psycopg
import pytest

from api.services import Services
from shared import collections
from shared.vectors.protocol import Point


@pytest.mark.parametrize("after", [True, False], ids=["submitted after", "submitted before"])
async def test_only_a_job_submitted_later_brings_an_item_back(
    app: Any, client: httpx.AsyncClient, postgres_url: str, after: bool
) -> None:
    services: Services = app.state.services
    assert (await client.post("/v1/collections", json={"name": "shoes"})).status_code == 201
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        row = collections.find(connection, "default", "shoes")
        assert row is not None

        async def submitted() -> int:
            answer = await client.post("/v1/embed", json={"input": {"texts": ["x"]}})
            found = connection.execute("SELECT seq FROM jobs WHERE id = %s", (answer.json()["id"],)).fetchone()
            assert found is not None
            return int(found[0])

        def write(version: int) -> None:
            vector = np.eye(1, row.dimension, dtype=np.float32)[0]
            services.vectors.upsert(row.ref, [Point("one", vector, version=version)])

        write(await submitted())
        early = await submitted()
        assert (await client.delete("/v1/collections/shoes/items/one")).status_code == 204
        write(await submitted() if after else early)
    assert (await client.get("/v1/collections/shoes")).json()["count"] == int(after)
