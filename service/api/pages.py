"""The page for people, its samples, and the description of the interface."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

from .. import errors
from ..samples import sample_names
from ..schemas.answers import Sample
from .openapi import documented

WEB = Path(__file__).parents[1] / "web"

# The pages load nothing from elsewhere, and the browser holds them to it. Dropped files are blobs.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src blob:",
    "Cache-Control": "no-cache",
}

router = APIRouter()


class PageFiles(StaticFiles):
    """The page's files; browsers ask whether theirs still hold, for two versions do not mix."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with a file."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


@router.get("/samples", responses=documented(errors.Unauthorized))
def samples() -> list[Sample]:
    """List the pairs that the service brings along."""
    return [
        Sample(
            name=name,
            visible=f"samples/{name}/visible.png",
            infrared=f"samples/{name}/infrared.png",
        )
        for name in sample_names()
    ]


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> JSONResponse:
    """Describe the interface, at the address that the client has for it."""
    prefix = request.state.public_prefix
    servers = {"servers": [{"url": prefix}]} if prefix else {}
    return JSONResponse(request.app.openapi() | servers)


@router.get("/", include_in_schema=False)
async def index() -> FileResponse:
    """Serve the page for people."""
    return FileResponse(WEB / "index.html", headers=PAGE_HEADERS)


@router.get("/docs", include_in_schema=False)
async def docs() -> FileResponse:
    """Serve the description of the interface; FastAPI's own page needs scripts from elsewhere."""
    return FileResponse(WEB / "docs.html", headers=PAGE_HEADERS)
