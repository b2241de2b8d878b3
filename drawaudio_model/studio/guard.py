"""Who may talk to the studio's server: the page that it served itself, in the browser that was given its address.

The server listens on loopback only, but every page of the web may send requests there, a name of the web may be made to
point there, and every user of the machine may connect. So each request passes five gates, in this order: the Host is
this machine's; the Origin, where there is one, is the page's; the browser says that the page itself asks
(Sec-Fetch-Site); the cookie holds the token that was printed with the address; the body has an end within its limit.

Programs have no page and no cookies: of the service that is for them (`drawaudio serve`), whatever a browser sends of a
page's is refused, and the token is in the Authorization header, which no page of the web can put there unasked.
"""

import hmac
import json
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY_BYTES = 8 * 2**20
"""Of a request that is not an upload: a project of hundreds of brush strokes has one."""
MOST_UPLOAD_BYTES = 8 * 2**30
UPLOADS = ("/api/uploads", "/api/sounds", "/api/files")

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
"""Of every answer: nothing comes from elsewhere, and no other page shows or reads this one."""


class Refused(Exception):
    """A request that a gate does not let through.

    Args:
        status: HTTP's number.
        sentence: what was wrong and what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def new_token() -> str:
    """A secret of 256 bits, as letters that a URL may hold."""
    return secrets.token_urlsafe(32)


def cookie_name(port: int) -> str:
    """Cookies go to all ports of a host: each studio's has its own name."""
    return f"drawaudio_{port}"


class Guard:
    """The gates, around the application.

    Args:
        app: what answers the requests that pass.
        port: where the server listens; part of the Host, the Origin and the cookie's name.
        token: the secret of this run.
        for_programs: the token comes in a header, and nothing comes from a browser.
    """

    def __init__(self, app: ASGIApp, *, port: int, token: str, for_programs: bool = False) -> None:
        self.app, self.port, self.token, self.for_programs = app, port, token, for_programs
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the studio has no web sockets
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            headers = _single_headers(scope)
            if self.for_programs:
                self._check_program(headers)
            else:
                self._check_sender(scope, headers)
                if self._is_arrival(scope):
                    await self._welcome(send)
                    return
                self._check_cookie(headers)
            limit = MOST_UPLOAD_BYTES if scope["path"] in UPLOADS else MOST_BODY_BYTES
            _check_stated_length(headers, limit)
        except Refused as refusal:
            asks = {"www-authenticate": "Bearer"} if self.for_programs and refusal.status == 401 else {}
            await _answer(send, refusal.status, str(refusal), asks)
            return
        await self.app(scope, _limited(receive, limit), _with_headers(send))

    def _check_host(self, headers: dict[str, str]) -> str:
        host = headers.get("host", "")
        if host not in self.hosts:
            raise Refused(421, f"this studio is at 127.0.0.1:{self.port}, not at {host[:80]!r}")
        return host

    def _check_program(self, headers: dict[str, str]) -> None:
        """Raises Refused unless a program of this machine asks, with the token."""
        self._check_host(headers)
        for name in ("origin", "sec-fetch-site"):
            if name in headers:
                raise Refused(403, f"a page in a browser asked for this ({name}); this service is for programs")
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
            raise Refused(
                401, "the token is missing or another one; send Authorization: Bearer, and the token that was printed"
            )

    def _check_sender(self, scope: Scope, headers: dict[str, str]) -> None:
        """Raises Refused unless Host, Origin and Sec-Fetch-Site are those of the studio's own page."""
        host = self._check_host(headers)
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            raise Refused(403, "another page asked for this; open the address that the studio printed")
        site = headers.get("sec-fetch-site")
        is_page = scope["path"] == "/" and scope["method"] == "GET"
        # The first page may be asked for by a person, or by a terminal that opens a browser.
        if site != "same-origin" and not (is_page and site in ("none", None)):
            raise Refused(403, "this was not asked for by the studio's own page; open the address that it printed")

    def _is_arrival(self, scope: Scope) -> bool:
        """Whether this is the first page, asked for with the right token; raises Refused for a wrong one."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if given is None or scope["path"] != "/":
            return False
        if not hmac.compare_digest(given[0].encode(), self.token.encode()):
            raise Refused(401, "the token in the address is not this studio's; open the address that it printed last")
        return True

    async def _welcome(self, send: Send) -> None:
        """The token moves from the address, which is seen and kept in histories, into a cookie that no script reads."""
        cookie = f"{cookie_name(self.port)}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        await _answer(send, 303, "", {"location": "/", "set-cookie": cookie})

    def _check_cookie(self, headers: dict[str, str]) -> None:
        try:
            given = SimpleCookie(headers.get("cookie", "")).get(cookie_name(self.port))
        except CookieError:
            given = None
        if given is None or not hmac.compare_digest(given.value.encode(), self.token.encode()):
            raise Refused(401, "this browser has no token of the studio; open the address that it printed")


def _single_headers(scope: Scope) -> dict[str, str]:
    """The headers by their lower-case names; one that decides something may stand there once only."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        if key in found and key in ("host", "origin", "sec-fetch-site", "content-length", "authorization"):
            raise Refused(400, f"the request has two headers {key}")
        # Browsers may send cookies in several headers.
        found[key] = f"{found[key]}; {value.decode('latin-1')}" if key in found else value.decode("latin-1")
    return found


def _check_stated_length(headers: dict[str, str], limit: int) -> None:
    stated = headers.get("content-length", "0")
    if not stated.isdecimal() or int(stated) > limit:
        raise Refused(413, f"the request has {stated[:20]} bytes, expected at most {limit}")


def _limited(receive: Receive, limit: int) -> Receive:
    """The body as it comes in, up to the limit, then Refused: what a request states of its length may be wrong."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise Refused(413, f"the request has more than {limit} bytes")
        return message

    return counted


def _with_headers(send: Send) -> Send:
    async def added(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            new = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            if b"cache-control" not in given:
                new.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message["headers"], *new]}
        await send(message)

    return added


async def _answer(send: Send, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
    body = json.dumps({"error": sentence}).encode() if sentence else b""
    given = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    every = HEADERS | {"cache-control": "no-store"} | given | (headers or {})
    rows = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in every.items()]
    await send({"type": "http.response.start", "status": status, "headers": rows})
    await send({"type": "http.response.body", "body": body})
