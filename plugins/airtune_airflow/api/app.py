"""The pages at ``/airtune``: every route asks who is there and whether they may read the runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import jinja2
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from airtune.environment import Environment
from airtune.errors import AirtuneError, SettingsError
from airtune.stores import layout
from airtune.stores.base import MissingError
from airtune_airflow.api.airflow_compat import AUTHENTICATED, MAY_READ_RUNS
from airtune_airflow.api.patience import Asking, StoreAwayError
from airtune_airflow.api.runs import read_list, read_run

log = logging.getLogger(__name__)

PAGES: Final = Path(__file__).resolve().parent.parent / "pages"

_HEADERS: Final = {
    # Nothing is loaded from anywhere else, no script runs, and only Airflow itself may frame a page.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def make_app() -> FastAPI:
    """The app that Airflow mounts."""
    app = FastAPI(
        title="airtune", dependencies=[AUTHENTICATED], docs_url=None, redoc_url=None, openapi_url=None, version="1"
    )
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["bytes"] = _bytes
    style = (PAGES / "style.css").read_bytes()
    asking = Asking()

    def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
        html = templates.get_template(template).render(**values)
        return HTMLResponse(html, status_code=status, headers=_HEADERS)

    async def shown(request: Request, template: str, question: tuple[str, ...], work: Callable[[], Any]) -> Response:
        root = request.scope.get("root_path", "")
        try:
            found = await asking.ask(question, work)
        except MissingError:
            return page("notice.html", 404, root=root, title="No such run", text="The store has no run of this name.")
        except StoreAwayError as error:
            return page("notice.html", 503, root=root, title="The store is away", text=f"{_store()}: {error}.")
        except AirtuneError as error:
            return page("notice.html", 503, root=root, title="The store cannot be read", text=str(error))
        return page(template, root=root, found=found)

    @app.get("/", dependencies=[MAY_READ_RUNS])
    async def start(request: Request) -> Response:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/runs", status_code=307)

    @app.get("/runs", dependencies=[MAY_READ_RUNS])
    async def runs(request: Request) -> Response:
        store = _store()
        return await shown(request, "runs.html", ("runs", store), lambda: read_list(store))

    @app.get("/runs/{run_id}", dependencies=[MAY_READ_RUNS])
    async def run(request: Request, run_id: str) -> Response:
        try:
            layout.check_run_id(run_id)
        except SettingsError:
            root = request.scope.get("root_path", "")
            return page("notice.html", 404, root=root, title="No such run", text="This cannot be the name of a run.")
        store = _store()
        return await shown(request, "run.html", ("run", store, run_id), lambda: read_run(store, run_id))

    @app.get("/style.css", dependencies=[MAY_READ_RUNS])
    async def stylesheet() -> Response:
        return Response(style, media_type="text/css", headers={**_HEADERS, "Cache-Control": "private, max-age=3600"})

    return app


def _store() -> str:
    return Environment.read().store


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
