"""Which URLs may be asked, and which of them belong together: what keeps credentials where they belong."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_safe(url: str, origin: str) -> bool:
    """True where a request to `url`, told by `origin`, is not to be read on the way: HTTPS, or this machine."""
    parts, other = urlsplit(url), urlsplit(origin)
    local = parts.hostname in LOOPBACK and (other.scheme == "http" and other.hostname in LOOPBACK)
    return parts.scheme == "https" or (parts.scheme == "http" and local)


def same_origin(one: str, other: str) -> bool:
    """True where scheme, host and port of two URLs agree."""

    def origin(url: str) -> tuple:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)

    return origin(one) == origin(other)


def next_page(link_header: str, url: str) -> str | None:
    """Return the URL of the next page by the Link header (RFC 8288); None on the last, or for another server's."""
    from requests.utils import parse_header_links

    for link in parse_header_links(link_header):
        if link.get("rel") == "next":
            target = urljoin(url, link["url"])
            return target if same_origin(target, url) else None
    return None
