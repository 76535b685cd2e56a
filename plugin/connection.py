"""Connection: how a cluster is reached and who asks, from arguments, URL, environment and file, in that order.

A cluster named by its file's name is used as the file says; the environment adds only what is missing there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from opensearch_splade.errors import ClusterError
from opensearch_splade.plugin.connection_file import NAMES, ConnectionFile
from opensearch_splade.plugin.hosts import Hosts
from opensearch_splade.plugin.login import AwsLogin, Login, PasswordLogin, TokenLogin
from opensearch_splade.plugin.node_state import running_node

OURS = "OPENSEARCH_"
SOURCE = "OPENSEARCH_SOURCE_"
"""Before the names of variables: of the cluster that a command works on, and of another one that it reads from."""
_BY = {"password": ("user", "password", "password_file"), "token": ("token", "token_file"), "aws": ("aws_region",)}
"""Ways to log in, and the names that ask for each."""
_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True, slots=True)
class Connection:
    """One cluster and one user of it; may be pickled, shows no secret.

    Attributes:
        hosts: Where.
        login: Who; ``None`` for nobody, or whom the certificate names.
        certificate: Files of the client's certificate and of its key, empty where the first holds both.
        ca_certs: File of certificate authorities; empty for the usual ones.
        insecure: Whether the server's certificate is not verified.
    """

    hosts: Hosts
    login: Login | None = None
    certificate: tuple[str, str] | None = None
    ca_certs: str = ""
    insecure: bool = False

    @classmethod
    def read(
        cls, url: str | None = None, *, environment: str = OURS, insecure: bool = False, **given: str | None
    ) -> Connection:
        """Collects what is said; connects to nothing.

        Args:
            url: A URL as :meth:`Hosts.parse` takes it, or a name of the connection file; by default
                ``OPENSEARCH_URL``, else the file's default, else the running local node.
            environment: What the names of the variables begin with.
            insecure: Do not verify the server's certificate.
            given: Any of ``connection_file.NAMES``; ``user=""`` is nobody, whatever else is said elsewhere.

        Raises:
            ClusterError: No cluster is named, or what is said is not usable or contradicts itself.
        """
        if unknown := given.keys() - set(NAMES):
            msg = f"a connection has no {', '.join(sorted(unknown))}; known: {', '.join(NAMES)}"
            raise TypeError(msg)
        here = {name: os.environ.get(f"{environment}{name.upper()}", "") for name in NAMES}
        url, file, is_first = _located(url)
        hosts = Hosts.parse(url)
        layers = [
            _Layer("the arguments", {name: value for name, value in given.items() if value is not None}),
            _Layer("the URL", {"user": hosts.user, "password": hosts.password}).without_blanks(),
            _Layer("the environment", here, environment).without_blanks(),
        ]
        layers.insert(2 if is_first else 3, file)
        found = _Found([layer for layer in layers if layer.values], environment)
        ca_certs = found.first("ca_certs") or os.environ.get(f"{OURS}CA_CERTS", "")
        made = cls(hosts, found.login(), found.certificate(), ca_certs, insecure)
        made._require_usable()
        return made

    def _require_usable(self) -> None:
        files = [("certificate authorities", self.ca_certs if self.hosts.tls else "")]
        if self.certificate:
            files += [("the client's certificate", self.certificate[0]), ("the client's key", self.certificate[1])]
            if not self.hosts.tls:
                msg = f"{self.hosts.url}: a client certificate (OPENSEARCH_CLIENT_CERT) needs an https:// URL"
                raise ClusterError(msg)
        for what, path in files:
            if path and not Path(path).is_file():
                msg = f"file of {what} {path} does not exist"
                raise ClusterError(msg)


def _located(given: str | None) -> tuple[str, _Layer, bool]:
    """The URL, what the connection file says beside it, and whether that comes before the environment."""
    url = given or os.environ.get(f"{OURS}URL", "")
    if url and not _NAME.fullmatch(url):
        return url, _Layer("", {}), False
    file = ConnectionFile.read()
    if name := url or file.default:
        said = file.of(name)
        return said["url"], _Layer(f"[clusters.{name}] of {file.path}", said), bool(given)
    if node := running_node():
        return node.url, _Layer("", {}), False
    msg = (
        "no cluster is named: give --url, set OPENSEARCH_URL, name one in "
        f"{file.path}, or run `osplade node start` for a local one"
    )
    raise ClusterError(msg)


@dataclass(frozen=True)
class _Layer:
    """What one place says."""

    place: str
    values: dict[str, str]
    prefix: str = ""

    def without_blanks(self) -> _Layer:
        return _Layer(self.place, {name: value for name, value in self.values.items() if value}, self.prefix)

    def called(self, name: str) -> str:
        return f"{self.prefix}{name.upper()}" if self.prefix else name

    def login(self) -> str | None:
        """How this place wants to log in, if it says anything of that."""
        asked = {kind: [name for name in names if name in self.values] for kind, names in _BY.items()}
        asked = {kind: names for kind, names in asked.items() if names}
        if len(asked) > 1:
            said = " and ".join(self.called(names[0]) for names in asked.values())
            msg = f"{self.place}: {said} are two ways to log in; keep one and unset the other"
            raise ClusterError(msg)
        return next(iter(asked), None)

    def secret(self, name: str) -> str | None:
        """A password or token, from here or from the file that is named here."""
        path = self.values.get(f"{name}_file")
        if path and name in self.values:
            msg = f"{self.place}: {self.called(name)} and {self.called(name + '_file')} are both said; keep one"
            raise ClusterError(msg)
        if not path:
            return self.values.get(name)
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{self.called(name + '_file')}: {path} cannot be read ({type(error).__name__})"
            raise ClusterError(msg) from None
        if not text:
            msg = f"{self.called(name + '_file')}: {path} is empty"
            raise ClusterError(msg)
        return text


@dataclass(frozen=True)
class _Found:
    """All places that say something, the strongest first."""

    layers: list[_Layer]
    prefix: str

    def first(self, name: str) -> str:
        return next((layer.values[name] for layer in self.layers if name in layer.values), "")

    def login(self) -> Login | None:
        """The strongest place that says who asks decides how; the others only complete it."""
        kind = next((kind for layer in self.layers if (kind := layer.login())), None)
        if kind == "token":
            return TokenLogin(_one_line(next(filter(None, (layer.secret("token") for layer in self.layers)))))
        if kind == "aws":
            return AwsLogin(self.first("aws_region"), _service(self.first("aws_service") or "es"))
        return self._password() if kind else None

    def _password(self) -> Login | None:
        user = self.first("user")
        if not user and any("user" in layer.values for layer in self.layers):
            return None
        # A place that names another user has that one's password.
        fitting = (layer for layer in self.layers if layer.values.get("user", user) == user)
        password = next(filter(None, (layer.secret("password") for layer in fitting)), "")
        if not user or not password:
            msg = (
                f"a user needs a password and the other way round: {self.prefix}USER and {self.prefix}PASSWORD (or "
                f"{self.prefix}PASSWORD_FILE)"
            )
            raise ClusterError(msg)
        return PasswordLogin(user, password)

    def certificate(self) -> tuple[str, str] | None:
        if self.layers and self.layers[0].values.get("user") == "":
            return None
        for layer in self.layers:
            cert, key = layer.values.get("client_cert", ""), layer.values.get("client_key", "")
            if key and not cert:
                msg = f"{layer.place}: {layer.called('client_key')} needs {layer.called('client_cert')} beside it"
                raise ClusterError(msg)
            if cert:
                return cert, key
        return None


def _one_line(token: str) -> str:
    if not token.isascii() or not token.isprintable() or " " in token:
        msg = "the token holds spaces, line breaks or letters that no token has: give the bare token, without `Bearer`"
        raise ClusterError(msg)
    return token


def _service(name: str) -> str:
    if name not in {"es", "aoss"}:
        msg = f"OPENSEARCH_AWS_SERVICE is es (Amazon OpenSearch Service) or aoss (Serverless), not {name!r}"
        raise ClusterError(msg)
    return name
