"""The routes of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import jinja2
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from decorec import __version__
from decorec.config.base import problems
from decorec.errors import DecorecError
from decorec.serve.bodies import Health, Lists, Problem, Product, Products, Recommend, Recommended, Similar
from decorec.serve.catalogue import Catalogue
from decorec.serve.gateway import Gateway
from decorec.serve.meters import CONTENT_TYPE, Meters
from decorec.serve.reload import Reloader
from decorec.serve.worker import BusyError, Worker

__all__ = ["build_app"]

FOLDER = Path(__file__).parent
PAGE = ("page.html", "page.css", "page.js")
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        413: "The body is too large.",
        422: "The request says something that is not possible; `detail` names it.",
        503: "Too many requests wait.",
    }.items()
}

Words = Annotated[str, Query(max_length=200, description="Words of the title or the text, or an id.")]
Most = Annotated[int, Query(ge=1, le=100, description="Number of products.")]


def build_app(worker: Worker, reloader: Reloader, meters: Meters) -> FastAPI:
    """The application; its start and end are those of the worker and the reloader."""

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        reloader.start()
        yield
        await asyncio.to_thread(reloader.stop)
        await asyncio.to_thread(worker.stop)

    app = FastAPI(
        title="DeCoRec",
        version=__version__,
        description="Recommendations of a trained run.",
        lifespan=living,
        docs_url=None,  # FastAPI's own pages load scripts from other hosts
        redoc_url=None,
    )
    app.add_middleware(Gateway, meters=meters)
    _refusals(app)
    _model_routes(app, worker, reloader, meters)
    _product_routes(app, worker)
    _pages(app)
    return app


def _model_routes(app: FastAPI, worker: Worker, reloader: Reloader, meters: Meters) -> None:
    def shown(found: list[Recommended]) -> Lists:
        catalogue = worker.current.catalogue
        for each in found:
            each.title, each.picture = catalogue.titles.get(each.item), _picture(catalogue, each.item)
            if each.because is not None:
                each.because.title = catalogue.titles.get(each.because.item)
        return Lists(items=found)

    @app.post("/recommend", summary="The best items after a history.", responses=REFUSALS)
    async def recommend(body: Recommend) -> Lists:
        within = None if body.category is None else worker.current.catalogue.within(body.category)
        return shown(await asyncio.wrap_future(worker.ask(body, within)))

    @app.post("/similar", summary="The items that are most similar to one, without itself.", responses=REFUSALS)
    async def similar(body: Similar) -> Lists:
        return shown(await asyncio.wrap_future(worker.ask(body)))

    @app.get("/health", summary="The model that answers.")
    async def health() -> Health:
        loaded = worker.current
        trained = loaded.trained
        return Health(
            model=trained.run.model.name,
            stage=trained.stage,
            seed=trained.seed,
            items=len(trained.items),
            vectors=loaded.vectors,
            weights=loaded.weights,
            loaded=loaded.at.isoformat(timespec="seconds"),
            reload_error=reloader.error,
        )

    @app.get("/metrics", summary="Counters, in Prometheus' text format.", response_class=Response)
    async def metrics() -> Response:
        return Response(meters.text(), media_type=CONTENT_TYPE)


def _product_routes(app: FastAPI, worker: Worker) -> None:
    @app.get("/search", summary="Products by words.")
    def search(q: Words, k: Most = 20) -> Products:
        loaded = worker.current
        known, catalogue = loaded.trained.index, loaded.catalogue
        found = sorted(catalogue.search(q, k), key=lambda item: item not in known)  # what can be answered for, first
        return Products(
            items=[
                Product(
                    item=item,
                    title=catalogue.titles[item],
                    picture=_picture(catalogue, item),
                    known=item in known,
                )
                for item in found
            ]
        )

    @app.get("/picture/{item:path}", summary="The picture of a product.", response_class=FileResponse)
    def picture(item: str) -> FileResponse:
        path = worker.current.catalogue.picture(item)
        if path is None or not path.is_file():
            raise HTTPException(404, [f"item {item[:80]!r}: expected a product with a picture, found none"])
        return FileResponse(path, media_type="image/jpeg", headers={"Cache-Control": "max-age=3600"})


def _pages(app: FastAPI) -> None:
    described = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (FOLDER / "interface.html.jinja").read_text(encoding="utf-8")
    )

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(described.render(api=app.openapi()))

    def page_of(name: str) -> Callable[[], Awaitable[Response]]:
        content, kind = (FOLDER / name).read_bytes(), TYPES[Path(name).suffix]

        async def page() -> Response:
            return Response(content, media_type=f"{kind}; charset=utf-8")

        return page

    for name in PAGE:
        app.get("/" if name == PAGE[0] else f"/{name}", include_in_schema=False)(page_of(name))


def _refusals(app: FastAPI) -> None:
    """Every refusal has the same form, and says what to do."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": _told(error.errors())}, 422)

    @app.exception_handler(StarletteHTTPException)
    async def impossible(request: Request, error: StarletteHTTPException) -> JSONResponse:
        place = request.url.path[:80]
        told = {
            400: "body: expected JSON in UTF-8, found what cannot be read; correct it",
            404: f"{place}: expected an address that GET /docs lists, found another; correct it",
            405: f"{place}: expected another method than {request.method}; see GET /docs",
        }
        detail = error.detail if isinstance(error.detail, list) else [told.get(error.status_code, error.detail)]
        return JSONResponse({"detail": detail}, error.status_code, error.headers)

    @app.exception_handler(DecorecError)
    async def refused(_: Request, error: DecorecError) -> JSONResponse:
        return JSONResponse({"detail": [str(error)]}, 422)

    @app.exception_handler(BusyError)
    async def busy(_: Request, error: BusyError) -> JSONResponse:
        return JSONResponse({"detail": [str(error)]}, 503, {"Retry-After": "1"})


def _told(errors: Sequence[Any]) -> list[str]:
    """What is wrong with a request, in one line for each problem; where it has no JSON object, this is the only one."""
    first = errors[0]
    if first["type"] == "json_invalid":
        where = f"{first['ctx']['error']} at character {first['loc'][-1]}"
        return [f"body: expected JSON, found something else ({where}); correct it"]
    if tuple(first["loc"]) == ("body",) and first["type"] in ("missing", "model_attributes_type"):
        return [
            "body: expected a JSON object with the header Content-Type: application/json, found none; send it so "
            "(GET /docs)"
        ]
    return problems(errors, skipped=1)


def _picture(catalogue: Catalogue, item: str) -> str | None:
    return None if catalogue.picture(item) is None else f"/picture/{quote(item, safe='')}"
