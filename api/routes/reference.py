"""`/docs`: the API's description to read and try, with Swagger UI from a Python package, so that it works offline."""

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

PAGE = "/docs"
_FILES = f"{PAGE}/files"


def install(app: FastAPI) -> None:
    """Serve the page and its files. Of `fastapi-offline` only these files are used; none of its code runs."""

    async def page(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        return get_swagger_ui_html(
            title=app.title,
            openapi_url=f"{root}{app.openapi_url}",
            swagger_js_url=f"{root}{_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{root}{_FILES}/favicon.png",
        )

    app.add_route(PAGE, page, include_in_schema=False)
    app.mount(_FILES, StaticFiles(packages=[("fastapi_offline", "static")]), name="reference")
