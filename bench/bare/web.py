"""A FastAPI endpoint that does nothing, on the settings of the API's own server: `python -m bench.bare.web PORT`."""

import sys

import uvicorn
from fastapi import FastAPI, Request, Response

app = FastAPI(openapi_url=None)
ANSWER = b'{"id":"00000000-0000-7000-8000-000000000000","status":"queued"}'


@app.post("/nothing", status_code=202)
async def nothing(request: Request) -> Response:
    """Read the body, as any submission must, and answer."""
    await request.body()
    return Response(ANSWER, status_code=202, media_type="application/json")


@app.get("/health/live")
async def live() -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
