"""Where Stripe's pages may send a contractor back to: nowhere but to the marketplace's own pages.

A link of Stripe's is trusted by whoever gets it. If it ended wherever a request says, the API would make phishing
links.
"""

import re
from urllib.parse import urlsplit

from domain.errors import InvalidField
from domain.settings import Mode, Settings

LONGEST = 2048
"""Characters."""

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})

_PLAIN = re.compile(r"[\x21-\x7e]+")
"""What every parser reads alike, together with `_ODD`: no spaces, control characters or letters that merely look so."""
_ODD = re.compile(r"[\\@#]")
"""A browser reads a backslash as a slash; a name before an @ looks like the host; what follows a # no server sees."""


def checked(field: str, url: str, settings: Settings) -> str:
    """`url`, if it leads to one of the marketplace's hosts. Raises `InvalidField`."""
    flaw = _flaw(url, settings)
    if flaw is not None:
        hosts = ", ".join(f"https://{host}/…" for host in settings.return_hosts) or "none is set: PAYSAGA_RETURN_HOSTS"
        more = " This machine by http or https, on any port, besides." if settings.mode is Mode.DEVELOPMENT else ""
        raise InvalidField(
            field, flaw, remedy=f"Use an absolute URL of one of the marketplace's hosts ({hosts}).{more}"
        )
    return url


def _flaw(url: str, settings: Settings) -> str | None:
    if len(url) > LONGEST:
        return f"It is longer than {LONGEST} characters."
    if not _PLAIN.fullmatch(url) or _ODD.search(url):
        return "It holds characters that a return URL may not: spaces, non-ASCII, a backslash, @ or #."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "It is not a URL."
    if parts.scheme not in ("http", "https") or host is None:
        return "It is not an absolute URL by https."
    if settings.mode is Mode.DEVELOPMENT and host in _THIS_MACHINE:
        return None
    if parts.scheme != "https":
        return "It is not by https."
    if host not in {allowed.lower() for allowed in settings.return_hosts} or port not in (None, 443):
        return f"{parts.netloc} is not one of the marketplace's hosts."
    return None
