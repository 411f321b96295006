"""The demo page: a browser calls itself through the nearest relay.

It loads files of this server only; a content security policy enforces that.
"""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web

PATHS = {
    "/demo": ("page.html", "text/html"),
    "/demo/style.css": ("style.css", "text/css"),
    "/demo/script.js": ("script.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src data:; media-src 'self' blob:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


_HIDDEN = b' hidden id="kill"'


def answer(path: str, *, stage: bool) -> web.Response:
    """The file at one of `PATHS`; with `stage`, the page shows the button that kills a relay."""
    name, media_type = PATHS[path]
    body = files(__package__).joinpath(name).read_bytes()
    if stage:
        body = body.replace(_HIDDEN, b' id="kill"')
    return web.Response(body=body, content_type=media_type, charset="utf-8", headers=_HEADERS)
