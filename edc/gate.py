"""Who may see the status page and the metrics.

Without a token the server listens on loopback only (config.py sees to it), and the danger is a page
of somebody else's in a browser on this machine: a name that was made to mean 127.0.0.1. So the Host
of a request must be an address, or localhost, which no stranger can make mean something.

With a token every request proves itself: by `Authorization: Bearer <token>`, or by a cookie that
`/?token=<token>` and the form of the page set. The cookie is derived from the token: it outlives a
restart of the daemon, and is worth nothing once the token has changed.
"""

import hashlib
import hmac
from ipaddress import ip_address

from aiohttp import web

COOKIE = "edc_session"
_DAYS = 30


class Gate:
    """Lets requests in; `token` is empty where none is needed."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._session = hmac.new(self._token, b"edc status page", hashlib.sha256).hexdigest()

    def refusal(self, request: web.Request) -> web.Response | None:
        """Why a request is not let in; None where it is."""
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and (
            request.headers.get("Sec-Fetch-Mode") != "navigate"
        ):
            return _no(403, "another site asks")
        if not self._token:
            return None if _is_here(request.headers.get("Host", "")) else _no(403, "unknown host")
        if self.knows(request):
            return None
        answer = _no(401, "a token is needed: Authorization: Bearer …, or /?token=…")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    def knows(self, request: web.Request) -> bool:
        """True where a request has proved itself, or need not."""
        if not self._token:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.fits(given.strip()):
            return True
        session = request.cookies.get(COOKIE, "")
        return hmac.compare_digest(session.encode(errors="replace"), self._session.encode())

    def fits(self, token: str) -> bool:
        """True for the token, however long it takes to say so."""
        return hmac.compare_digest(token.encode(errors="replace"), self._token)

    def admit(self, request: web.Request) -> web.Response:
        """To the page, with the cookie, and without the token in the address."""
        answer = web.Response(status=303, headers={"Location": "/", "Cache-Control": "no-store"})
        encrypted = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
        answer.set_cookie(
            COOKIE,
            self._session,
            max_age=_DAYS * 86_400,
            httponly=True,
            samesite="Lax",  # a link to the page may come from anywhere
            secure=encrypted,
        )
        return answer


def _is_here(host: str) -> bool:
    """True for localhost and for addresses, with or without a port."""
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else ""
    name = name or host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _no(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers={"Cache-Control": "no-store"})
