"""What the HTTP port answers, by path.

| path | for whom |
| --- | --- |
| /livez, /readyz, /metrics | everybody who reaches the port |
| all others | operators |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.errors import (
    HoldfastError,
    InvalidArgument,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unavailable,
    because,
)
from holdfast.service.web.debug import Debug
from holdfast.service.web.guard import OperatorGuard, Unproven
from holdfast.service.web.main_loop import MainLoop
from holdfast.service.web.page import Page
from holdfast.service.web.readiness import Readiness, alive
from holdfast.service.web.scrapes import Exposition, Scrapes

log = structlog.get_logger(__name__)

STATUSES: Final[tuple[tuple[type[HoldfastError], int], ...]] = (
    (Unproven, 401),
    (PermissionDenied, 403),
    (NotFound, 404),
    (InvalidArgument, 400),
    (Overloaded, 429),
    (Unavailable, 503),
)
LARGEST: Final = 4096
"""Bytes of a request's body: no page needs more."""
HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""What is sent with every answer."""
POLICY: Final = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
)
"""What a browser may do with a page that doesn't say: an SVG has its style in itself."""
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Site:
    """What the port shows.

    Attributes:
        loop: the loop that serves RPCs.
        readiness: whether clients should be sent here.
        exposition: the figures.
        debug: the pages for finding faults.
        page: the page of the fleet; None of an agent, which knows no fleet.
    """

    loop: MainLoop
    readiness: Readiness
    exposition: Exposition
    debug: Debug
    page: Page | None = None


def application(site: Site, guard: OperatorGuard) -> ASGIApp:
    """Returns the application."""
    scrapes = Scrapes(site.exposition)

    async def livez(_: Request) -> Response:
        return _verdict(*alive(site.loop.standing))

    async def readyz(_: Request) -> Response:
        return _verdict(*site.readiness.verdict(site.loop.standing))

    async def metrics(request: Request) -> Response:
        body, form = await scrapes.figures(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": form})

    def guarded(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            await guard.check(request)
            return await handler(request)

        return handle

    routes = [
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/debug", guarded(site.debug.index)),
        Route("/debug/{page}", guarded(site.debug.page)),
    ]
    if site.page is not None:
        routes.append(Route("/", guarded(site.page.whole)))
        routes.append(Route("/figures", guarded(site.page.figures)))
    handlers: Mapping[type[Exception], Callable[[Request, Exception], Response]] = {
        HoldfastError: _refused,
        HTTPException: _not_here,
        Exception: _failed,
    }
    return Porch(Starlette(routes=routes, exception_handlers=handlers))


class Porch:
    """Stands before the application: refuses what no page needs, and lets no failure out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                given = list(message.get("headers", ()))
                names = {name for name, _ in given}
                extra = [one for one in (*HEADERS, POLICY) if one[0] not in names]
                message = {**message, "headers": [*given, *extra]}
            await send(message)

        try:
            if _has_a_large_body(scope):
                answer: ASGIApp = PlainTextResponse(
                    "the request's body is too large\n", 413, {"connection": "close"}
                )
            else:
                answer = self._app
            await answer(scope, receive, sending)
        except Exception as error:
            log.exception("HTTP request failed", path=scope["path"])
            if not begun:
                await _failed(None, error)(scope, receive, sending)


def _has_a_large_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    return b"transfer-encoding" in headers or int(length) > LARGEST


def _verdict(well: bool, text: str) -> Response:
    return PlainTextResponse(text, 200 if well else 503)


def _refused(_: Request, error: Exception) -> Response:
    status = next((code for kind, code in STATUSES if isinstance(error, kind)), 500)
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}  # noqa: PLR2004 -- HTTP's number
    return PlainTextResponse(f"{because(error)}\n", status, headers)


def _failed(_: Request | None, __: Exception) -> Response:
    return PlainTextResponse("internal error\n", 500)


def _not_here(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- it is registered for these alone
    if error.status_code == 404:  # noqa: PLR2004 -- HTTP's number
        return PlainTextResponse("try /livez, /readyz, /metrics or /debug\n", 404)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)
