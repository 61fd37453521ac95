"""The explorer's server, reachable from this machine only, for a few users at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import panel as pn
from tornado.web import ErrorHandler, HTTPError

ADDRESS: Final = "127.0.0.1"
SESSIONS: Final = 16
"""Largest number of open pages; each takes some ten megabytes."""

_HOSTS: Final = ("localhost", ADDRESS)
_CHECK_INTERVAL: Final = 5000  # ms between checks for closed pages
_UNUSED_LIFETIME: Final = 15000  # ms after which closed pages, or pages that never connected, are forgotten
_LARGEST_MESSAGE: Final = 2**20  # bytes in a message of a browser; controls send some hundreds


def make_server(view: Callable[[], Any], *, port: int, title: str) -> Any:
    """Return a server of a page, not started, that listens to this machine only.

    A request with another host name is refused with 403: otherwise a foreign page whose name resolves to this machine
    could read the content. Pages beyond `SESSIONS` are refused with 503.

    Parameters
    ----------
    view
        Makes the content of a page, called for every session.
    port
        Port; 0 for any free one.
    title
        Title of the page.

    Returns
    -------
    bokeh.server.server.Server
    """
    server = pn.io.server.get_server(
        view,
        port=port,
        address=ADDRESS,
        title=title,
        start=False,
        check_unused_sessions_milliseconds=_CHECK_INTERVAL,
        unused_session_lifetime_milliseconds=_UNUSED_LIFETIME,
        websocket_max_message_size=_LARGEST_MESSAGE,
        http_server_kwargs={"max_body_size": _LARGEST_MESSAGE},
    )
    application = server._tornado
    application.websocket_origins.update(f"{host}:{server.port}" for host in _HOSTS)
    names = "|".join(host.replace(".", r"\.") for host in _HOSTS)
    application.add_handlers(rf"(?!(?:{names})$).*", [(r".*", ErrorHandler, {"status_code": 403})])
    for context in application.applications.values():
        _limit_sessions(context)
    return server


def _limit_sessions(context: Any) -> None:
    """Make an application refuse sessions beyond the limit."""
    create = context.create_session_if_needed
    coming: set[Any] = set()

    async def create_if_there_is_room(session_id: Any, *arguments: Any, **named: Any) -> Any:
        known = coming | {session.id for session in context.sessions}
        if session_id not in known and len(known) >= SESSIONS:
            raise HTTPError(503, reason="Too many pages are open, close some")
        coming.add(session_id)
        try:
            return await create(session_id, *arguments, **named)
        finally:
            coming.discard(session_id)

    context.create_session_if_needed = create_if_there_is_room
