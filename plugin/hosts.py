"""Hosts: where a cluster is reached, as one URL says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from opensearch_splade.errors import ClusterError

_COMMA = re.compile(r",(?=https?://)")


@dataclass(frozen=True, slots=True)
class Hosts:
    """The nodes of one cluster that requests are spread over.

    Attributes:
        places: Host and port of each.
        tls: Whether they speak TLS.
        prefix: Path before every request's, without slashes around it.
        user: Of the URL, unquoted; empty for none.
        password: The same.
    """

    places: tuple[tuple[str, int], ...]
    tls: bool
    prefix: str
    user: str
    password: str

    @classmethod
    def parse(cls, url: str) -> Hosts:
        """Several hosts are separated by commas, each with or without a scheme of its own.

        Args:
            url: ``http(s)://[user:password@]host[:port][,host[:port]…][/prefix]``.

        Raises:
            ClusterError: It is no such URL, or its hosts differ in more than host and port.
        """
        parts = [cls._one(part) for part in _COMMA.split(url)]
        first = parts[0]
        if any((part.tls, part.prefix) != (first.tls, first.prefix) for part in parts):
            msg = f"{redacted(url)}: the hosts of one cluster share http or https, and what follows the port"
            raise ClusterError(msg)
        logins = list(dict.fromkeys((part.user, part.password) for part in parts if part.user or part.password))
        if len(logins) > 1:
            msg = f"{redacted(url)}: the hosts of one cluster share user and password: write them once"
            raise ClusterError(msg)
        places = tuple(dict.fromkeys(place for part in parts for place in part.places))
        return cls(places, first.tls, first.prefix, *(logins[0] if logins else ("", "")))

    @classmethod
    def _one(cls, url: str) -> Hosts:
        try:
            parts = urlsplit(url)
            login, _, netloc = parts.netloc.rpartition("@")
            tls = parts.scheme == "https"
            hosts = [urlsplit(f"//{place}") for place in netloc.split(",")]
            usable = parts.scheme in {"http", "https"} and all(host.hostname and host.port != 0 for host in hosts)
            places = tuple((host.hostname or "", host.port or (443 if tls else 9200)) for host in hosts)
        except ValueError:
            usable = False
        if not usable:
            msg = f"{redacted(url)!r} is not a cluster's URL: give http://host:9200 or https://host:9200"
            raise ClusterError(msg)
        user, _, password = login.partition(":")
        return cls(places, tls, parts.path.strip("/"), unquote(user), unquote(password))

    def __repr__(self) -> str:
        return f"Hosts({self.url!r})"

    @property
    def url(self) -> str:
        """All hosts without user, password and prefix, for messages."""
        named = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.places)
        return f"{'https' if self.tls else 'http'}://{','.join(named)}"

    @property
    def are_loopback(self) -> bool:
        """Whether all are on this machine, as far as addresses tell."""
        return all(_is_loopback(host) for host, _ in self.places)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def redacted(url: str) -> str:
    """The URL without user and password, for messages."""
    # Up to the last @: a password that was not quoted may hold / and @ itself.
    return re.sub(r"^(\w+://)?.*@", r"\1***@", url, flags=re.DOTALL)
