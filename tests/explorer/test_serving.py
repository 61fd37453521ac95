"""The explorer's server answers this machine only, by its own names, and a few pages at a time."""

from __future__ import annotations

import asyncio
import gc
import re
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("panel")
pytest.importorskip("matplotlib")

import panel as pn
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from modelaug import explorer
from modelaug.explorer import serving
from tests.examples import heart_model, one_line

TOKEN = re.compile(r'"token":"([^"]+)"')


def serve(check: Callable[[int], Awaitable[None]], view: Callable[[], Any] = lambda: pn.pane.HTML("seen")) -> None:
    """Run a check with the port of a server."""

    async def work() -> None:
        server = serving.make_server(view, port=0, title="test")
        server.start()
        try:
            await check(server.port)
        finally:
            AsyncHTTPClient().close()
            server.stop()

    # Connections that the server broke off are left to the garbage collector, which complains in whatever test is then.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(work())
        gc.collect()


async def get(port: int, host: str | None = None, path: str = "/", **options: Any) -> tuple[int, str]:
    """Return status and text of what the server answers."""
    headers = {} if host is None else {"Host": host}
    request = HTTPRequest(f"http://127.0.0.1:{port}{path}", headers=headers, follow_redirects=False, **options)
    answer = await AsyncHTTPClient().fetch(request, raise_error=False)
    return answer.code, (answer.body or b"").decode()


async def connect(port: int, token: str, origin: str, host: str) -> int:
    """Return the status of what the server answers to a page's request for a connection; 101 if that is made."""
    headers = {"Origin": origin, "Host": host}
    request = HTTPRequest(f"ws://127.0.0.1:{port}/ws", headers=headers)
    try:
        connection = await websocket_connect(request, subprotocols=["bokeh", token])
    except HTTPClientError as error:
        return error.code
    connection.close()
    return 101


def test_other_names_of_the_server_are_refused() -> None:
    async def check(port: int) -> None:
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", "localhost", f"LOCALHOST:{port}"):
            status, text = await get(port, host)
            assert status == 200, host
            assert "<title>test</title>" in text
        paths = ("/", "/autoload.js", "/static/js/bokeh.min.js", "/static/extensions/panel/panel.min.js", "/none")
        names = (
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "xlocalhost",
            "127x0.0.1",
            "0.0.0.0",
        )
        for host in (*names, f"evil.example:{port}", "[::1]", "localhost.", "evil.example#localhost", "a@localhost"):
            for path in paths:
                status, text = await get(port, host, path)
                assert status == (400 if set("#@") & set(host) else 403), (host, path)  # some are none at all
                assert "token" not in text

    serve(check)


def test_pages_from_elsewhere_get_no_connection() -> None:
    async def check(port: int) -> None:
        here = f"localhost:{port}"
        match = TOKEN.search((await get(port, here))[1])
        assert match is not None
        for host in (here, f"127.0.0.1:{port}"):
            assert await connect(port, match[1], f"http://{host}", host) == 101
        for origin in ("http://evil.example", f"http://evil.example:{port}", "http://localhost:1", "null", "file://"):
            assert await connect(port, match[1], origin, here) == 403, origin
        assert await connect(port, match[1], f"http://evil.example:{port}", f"evil.example:{port}") == 403

    serve(check)


def test_only_so_many_pages_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SESSIONS", 3)

    async def check(port: int) -> None:
        first = TOKEN.search((await get(port))[1])
        assert first is not None
        found = await asyncio.gather(
            *(get(port, path="/" if k % 2 else "/autoload.js?bokeh-autoload-element=1") for k in range(12))
        )
        assert sorted(status for status, _ in found) == [200] * 2 + [503] * 10
        assert all("Too many pages are open" in text for status, text in found if status == 503)
        assert await connect(port, first[1], f"http://localhost:{port}", f"localhost:{port}") == 101  # a page that is

    made: list[int] = []

    def view() -> Any:
        made.append(1)
        return pn.pane.HTML("seen")

    serve(check, view)
    assert len(made) == 3


def test_pages_that_are_closed_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SESSIONS", 1)
    monkeypatch.setattr(serving, "_CHECK_INTERVAL", 20)
    monkeypatch.setattr(serving, "_UNUSED_LIFETIME", 100)

    async def check(port: int) -> None:
        assert (await get(port))[0] == 200
        assert (await get(port))[0] == 503
        for _ in range(100):
            await asyncio.sleep(0.1)
            if (await get(port))[0] == 200:
                return
        raise AssertionError("still full")

    serve(check)


def test_long_requests_are_refused() -> None:
    async def check(port: int) -> None:
        status, _ = await get(port, method="POST", body=b"x" * (2 * serving._LARGEST_MESSAGE), request_timeout=20)
        assert status in (400, 599)  # 599: the connection was closed before all was sent

    serve(check)


def test_the_real_explorer_is_served() -> None:
    async def check(port: int) -> None:
        status, text = await get(port)
        assert status == 200
        assert "Back to the mean" in text or "token" in text

    serve(check, lambda: explorer.explore(heart_model(), modes=1))


def test_too_many_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="modes is 101") as caught:
        explorer.explore(heart_model(), modes=101)
    one_line(caught.value)
