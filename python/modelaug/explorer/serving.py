"""The explorer's server: for this machine only, whatever name a browser takes it by, and for a few users at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import panel as pn
from tornado.web import ErrorHandler, HTTPError

ADDRESS: Final = "127.0.0.1"
SESSIONS: Final = 16
"""How many pages may be open at once; each has some ten megabytes."""

_HOSTS: Final = ("localhost", ADDRESS)
_CHECK: Final = 5000  # ms between looks for pages that were closed
_UNUSED: Final = 15000  # ms after which these, or pages that never connected, are forgotten
_LARGEST: Final = 2**20  # bytes of what a browser sends; controls send some hundreds


def make_server(view: Callable[[], Any], *, port: int, title: str) -> Any:
    """Return a server of a page, not started, which listens to this machine only.

    A request that takes the server by another name is refused with 403: a page elsewhere whose name leads to this
    machine could else read what is shown. Pages beyond `SESSIONS` are refused with 503.

    Parameters
    ----------
    view
        Makes what is shown, for every session anew.
    port
        To serve on; 0: any that is free.
    title
        Of the page.

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
        check_unused_sessions_milliseconds=_CHECK,
        unused_session_lifetime_milliseconds=_UNUSED,
        websocket_max_message_size=_LARGEST,
        http_server_kwargs={"max_body_size": _LARGEST},
    )
    application = server._tornado
    application.websocket_origins.update(f"{host}:{server.port}" for host in _HOSTS)
    names = "|".join(host.replace(".", r"\.") for host in _HOSTS)
    application.add_handlers(rf"(?!(?:{names})$).*", [(r".*", ErrorHandler, {"status_code": 403})])
    for context in application.applications.values():
        _limit(context)
    return server


def _limit(context: Any) -> None:
    """Let an application refuse sessions beyond the limit."""
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
