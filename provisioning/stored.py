"""What the cluster stores by name: pipelines, templates and indices; read, put and deleted alike.

What is otherwise is found by one comparison and changed by one call, whatever the kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from opensearch_splade.errors import ClusterError
from opensearch_splade.index_meta import CLUSTER
from opensearch_splade.plugin.client import address
from opensearch_splade.plugin.ml_commons import reason_of
from opensearch_splade.provisioning.comparing import Difference, differences, flat
from opensearch_splade.provisioning.pipelines import mark
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


class Kind(Protocol):
    """One kind of what is stored."""

    word: str
    """As people are told."""

    def all(self, client: OpenSearch) -> dict[str, Json]:
        """Name to body of all that there are."""
        ...

    def get(self, client: OpenSearch, name: str) -> Json | None:
        """The body; ``None`` if there is none of this name."""
        ...

    def owner(self, body: Json) -> str:
        """Whose it is by its own word; empty for nobody's."""
        ...

    def differences(self, found: Json, wanted: Json) -> list[Difference]:
        """Where what is there is otherwise."""
        ...

    def put(self, client: OpenSearch, name: str, body: Json) -> None:
        """Makes or replaces it."""
        ...

    def delete(self, client: OpenSearch, name: str) -> None:
        """Deletes it; what is gone already is success."""
        ...


class Pipelines:
    """Ingest or search pipelines.

    Args:
        word: As people are told.
        path: Of the API.
    """

    def __init__(self, word: str, path: str) -> None:
        self.word, self._path = word, path

    def all(self, client: OpenSearch) -> dict[str, Json]:
        """See ``Kind``."""
        found: dict[str, Json] = ask(client, "GET", self._path) or {}
        return found

    def get(self, client: OpenSearch, name: str) -> Json | None:
        """See ``Kind``."""
        found: Json = ask(client, "GET", f"{self._path}/{name}") or {}
        return found.get(name)

    def owner(self, body: Json) -> str:
        """By the description, which is all that a pipeline can hold."""
        return _marked(str(body.get("description", "")))

    def differences(self, found: Json, wanted: Json) -> list[Difference]:
        """See ``Kind``."""
        return list(differences(found, wanted))

    def put(self, client: OpenSearch, name: str, body: Json) -> None:
        """See ``Kind``."""
        ask(client, "PUT", f"{self._path}/{name}", body)

    def delete(self, client: OpenSearch, name: str) -> None:
        """See ``Kind``."""
        ask(client, "DELETE", f"{self._path}/{name}")


class Templates:
    """Index templates."""

    word = "index template"

    def all(self, client: OpenSearch) -> dict[str, Json]:
        """See ``Kind``."""
        found = ask(client, "GET", "/_index_template?flat_settings=true") or {}
        return {one["name"]: one["index_template"] for one in found.get("index_templates", [])}

    def get(self, client: OpenSearch, name: str) -> Json | None:
        """See ``Kind``."""
        found = ask(client, "GET", f"/_index_template/{name}?flat_settings=true") or {}
        return next((one["index_template"] for one in found.get("index_templates", [])), None)

    def owner(self, body: Json) -> str:
        """See ``Kind``."""
        return str(body.get("_meta", {}).get(CLUSTER, {}).get("owner", ""))

    def differences(self, found: Json, wanted: Json) -> list[Difference]:
        """Settings are compared flat and as text, which is how the server keeps them."""
        return list(differences(_with_flat_settings(found), _with_flat_settings(wanted)))

    def put(self, client: OpenSearch, name: str, body: Json) -> None:
        """See ``Kind``."""
        ask(client, "PUT", f"/_index_template/{name}", body)

    def delete(self, client: OpenSearch, name: str) -> None:
        """See ``Kind``."""
        ask(client, "DELETE", f"/_index_template/{name}")


class Indices:
    """Indices; a body is made by ``put`` only, and changed by ``index_changes``."""

    word = "index"

    def all(self, client: OpenSearch) -> dict[str, Json]:
        """See ``Kind``; only those that somebody's mapping claims. System indices are not asked: servers warn of it."""
        found: dict[str, Json] = ask(client, "GET", "/*,-.*/_mapping?expand_wildcards=open,closed,hidden") or {}
        return {name: one for name, one in found.items() if self.owner(one)}

    def get(self, client: OpenSearch, name: str) -> Json | None:
        """See ``Kind``; an alias of this name is an index of another one, so it is foreign."""
        found: Json = ask(client, "GET", f"/{name}?flat_settings=true") or {}
        if name not in found and found:
            return {"mappings": {}, "settings": {}, "alias_of": sorted(found)}
        return found.get(name)

    def owner(self, body: Json) -> str:
        """See ``Kind``."""
        return str(body.get("mappings", {}).get("_meta", {}).get(CLUSTER, {}).get("owner", ""))

    def differences(self, found: Json, wanted: Json) -> list[Difference]:
        """Of what is declared only: documents and clients add to mappings and to ``_meta``."""
        pair = (
            {"settings": flat(found["settings"]), "mappings": found["mappings"]},
            {"settings": flat(wanted["settings"]), "mappings": wanted["mappings"]},
        )
        return list(differences(*pair, whole=False))

    def put(self, client: OpenSearch, name: str, body: Json) -> None:
        """Makes it; one that is there is an error."""
        ask(client, "PUT", f"/{name}", body)

    def delete(self, client: OpenSearch, name: str) -> None:
        """See ``Kind``."""
        ask(client, "DELETE", f"/{name}")


INGEST = Pipelines("ingest pipeline", "/_ingest/pipeline")
SEARCH = Pipelines("search pipeline", "/_search/pipeline")
TEMPLATES = Templates()
INDICES = Indices()


def ask(client: OpenSearch, method: str, path: str, body: Json | None = None) -> Json | None:
    """One request; ``None`` for what is not there.

    Raises:
        ClusterError: The cluster does not answer or refuses; says what and why.
    """
    from opensearchpy.exceptions import NotFoundError

    with asking(client, f"{method} {path.partition('?')[0]}"):
        try:
            found: Json = client.transport.perform_request(method, path, body=body)
        except NotFoundError:
            if method == "PUT":
                raise
            return None
    return found


@contextmanager
def asking(client: OpenSearch, what: str) -> Iterator[None]:
    """The client's errors as ours, with the request that failed.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    from opensearchpy.exceptions import AuthorizationException, OpenSearchException, TransportError

    try:
        yield
    except AuthorizationException as error:
        raise ClusterError(
            f"{address(client)}: this user may not {what} (403): {reason_of(error.info)}; docs/security.md has a role "
            "for each command"
        ) from error
    except TransportError as error:
        reason = _reason(error.info) if isinstance(error.info, dict) else str(error.error)
        raise ClusterError(f"{address(client)} refuses {what} ({error.status_code}): {reason}") from error
    except OpenSearchException as error:
        raise ClusterError(f"{address(client)} does not answer to {what}: {error}") from error


def _reason(info: Json) -> str:
    """Why, with the cause beneath: of a script the outer reason is `compile error` alone."""
    error = info.get("error")
    cause = error.get("caused_by", {}).get("reason") if isinstance(error, dict) else None
    return f"{reason_of(info)}: {cause}" if cause else reason_of(info)


def _marked(description: str) -> str:
    begin, _, rest = description.partition(mark("").strip("]"))
    owner, bracket, _ = rest.partition("]")
    return owner if not begin and bracket else ""


def _with_flat_settings(body: Json) -> Json:
    inner = body["template"]
    kept = {name: value for name, value in body.items() if value != []}  # `composed_of` of nothing
    return {**kept, "template": {**inner, "settings": flat(inner["settings"])}}
