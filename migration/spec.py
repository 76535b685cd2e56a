"""Migration spec: what is to become of which index, as a small TOML or YAML file says it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from opensearch_splade.errors import MigrationError, MissingExtraError
from opensearch_splade.index_meta import SparseField

Way = Literal["copy", "in-place", "vectors"]
"""``copy``: into a new index. ``in-place``: vectors are added to the index itself, for one too big to double.
``vectors``: into a new index with the sparse vectors that the documents have already."""
LastRound = Literal["write-block", "dual-write"]
"""How the last changes are caught: writes are refused for some seconds, or the application writes to both indices."""

_NAME = r"^[^A-Z\s\\/*?\"<>|,#:+_-][^A-Z\s\\/*?\"<>|,#:]*$"


class MigrationSpec(BaseModel):
    """One migration.

    Attributes:
        source: The index or alias that is asked today; ``http(s)://host:9200/NAME`` on another cluster, which may be
            Elasticsearch.
        login: ``user:password`` of that cluster, taken out of its URL: it is neither shown nor written anywhere.
        target: The new index; in place the source's own.
        texts: Fields of text in their order; empty takes what the mapping offers.
        title: Field of the title.
        bundle: Shipped bundle or folder that encodes documents.
        dense_bundle: The same for a kNN field, if one is wanted.
        way: See ``Way``.
        vectors: Field with the sparse vectors that are copied, for ``way = "vectors"``.
        foreign: Name of the model that made them, where no bundle did: whoever asks must bring query weights of it.
        sparse_field: Kind of the new field; ``sparse_vector`` is searched by SEISMIC.
        drop: Fields that the new index does without, such as a dense vector.
        prune: Rule for weak features, e.g. ``max_ratio:0.1``.
        query_weights: Weights counted over the documents for inference-free questions, if wanted.
        last_round: See ``LastRound``.
        max_docs_per_second: At most so many documents are read.
        max_slowdown: Reading slows down while the source's own searches take so many times as long as before;
            ``None`` looks away.
        shards: Primary shards of the new index; ``None`` takes the source's number.
        replicas: Copies of each; ``None`` takes the source's number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, Field(min_length=1)]
    login: Annotated[SecretStr, Field(exclude=True, repr=False)] = SecretStr("")
    target: Annotated[str, Field(pattern=_NAME, max_length=255)]
    texts: tuple[str, ...] = ()
    title: str = ""
    bundle: str = "splade-tiny-idf"
    dense_bundle: str = ""
    way: Way = "copy"
    vectors: str = ""
    foreign: str = ""
    sparse_field: SparseField = "rank_features"
    drop: tuple[str, ...] = ()
    prune: str = ""
    query_weights: Literal["", "idf", "bm25"] = ""
    last_round: LastRound = "write-block"
    max_docs_per_second: Annotated[float, Field(gt=0)] | None = None
    max_slowdown: Annotated[float, Field(gt=1)] | None = 1.5
    shards: Annotated[int, Field(ge=1, le=1024)] | None = None
    replicas: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_login(cls, said: Any) -> Any:
        source = said.get("source") if isinstance(said, dict) else None
        if not isinstance(source, str) or "://" not in source:
            return said
        url, _, name = source.rpartition("/")
        login, at, place = urlsplit(url).netloc.rpartition("@")
        url = url.replace(f"{login}{at}", "", 1)
        if not place or not name or "@" in url:
            raise ValueError("source is http(s)://host:9200/NAME; write / and @ of a password as %2F and %40")
        return said | {"source": f"{url}/{name}"} | ({"login": login} if login else {})

    @model_validator(mode="after")
    def _fits(self) -> MigrationSpec:
        if (self.way == "vectors") != bool(self.vectors):
            raise ValueError('vectors = FIELD and way = "vectors" go together')
        if self.foreign and (self.way != "vectors" or self.sparse_field != "rank_features"):
            raise ValueError("foreign goes with way vectors, into rank_features: token ids are those of a bundle")
        if self.way == "in-place" and self.is_elsewhere:
            raise ValueError("an index on another cluster cannot be changed in place: take way copy")
        if self.way == "in-place" and (self.shards or self.replicas is not None or self.drop):
            raise ValueError("in place nothing of the index is made anew: leave out shards, replicas and drop")
        return self

    @property
    def is_elsewhere(self) -> bool:
        """Whether the source is on another cluster."""
        return "://" in self.source

    @property
    def source_name(self) -> str:
        """The source without its cluster."""
        return self.source.rpartition("/")[2] if self.is_elsewhere else self.source

    @property
    def source_url(self) -> str:
        """The source's cluster; empty for the target's."""
        return self.source.rpartition("/")[0] if self.is_elsewhere else ""

    @property
    def credentials(self) -> tuple[str, str]:
        """User and password for the source's cluster: of its URL, else of the environment, else empty.

        Those of the target's cluster are never sent to another one. A password in a file, tokens, certificates and AWS
        are the connection's business, by variables of the same beginning.

        Raises:
            MigrationError: There is one without the other.
        """
        user, _, password = self.login.get_secret_value().partition(":")
        user = unquote(user) or os.environ.get("OPENSEARCH_SOURCE_USER", "")
        password = unquote(password) or os.environ.get("OPENSEARCH_SOURCE_PASSWORD", "")
        if bool(user) != bool(password) and not os.environ.get("OPENSEARCH_SOURCE_PASSWORD_FILE"):
            raise MigrationError(
                "the source's cluster needs both a user and a password: in its URL, or as OPENSEARCH_SOURCE_USER and "
                "OPENSEARCH_SOURCE_PASSWORD."
            )
        return user, password

    @classmethod
    def read(cls, path: Path | None = None, **given: Any) -> MigrationSpec:
        """A spec from a file and what is said beside it, which counts more.

        Args:
            path: ``.toml``, ``.yaml`` or ``.yml``; ``None`` for none.
            given: Attributes; those that are ``None`` or empty are not said.

        Raises:
            MigrationError: The file cannot be read, or values are missing, unknown or do not go together.
        """
        return cls._of(_parsed(path) if path else {}, given, path)

    def but(self, **given: Any) -> MigrationSpec:
        """The same with what is said now; as ``read``."""
        return self._of(self.model_dump(), given)

    @classmethod
    def _of(cls, known: dict[str, Any], given: dict[str, Any], path: Path | None = None) -> MigrationSpec:
        said = {name: value for name, value in given.items() if value not in (None, "", ())}
        try:
            return cls(**(known | said))
        except (ValidationError, TypeError) as error:
            raise MigrationError(f"{path or 'The migration'}: {_told(error)}.") from error


def _parsed(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationError(f"{path} cannot be read: {error}.") from error
    if path.suffix == ".toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise MigrationError(f"{path} is not TOML: {error}.") from error
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("yaml", "eval") from error
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MigrationError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(found, dict):
        raise MigrationError(f"{path} holds no names with values.")
    return found


_TOLD = {
    "missing": "is not said",
    "extra_forbidden": "there is no such value; `osplade migrate run --help` lists them",
    "tuple_type": 'is a list, as in ["title", "body"]',
    "int_parsing": "is a whole number",
    "string_pattern_mismatch": (
        'is no name of an index: lower case, without spaces and \\ / * ? " < > | , # :, not beginning with _ - or +'
    ),
}
"""What pydantic says otherwise."""


def _told(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    told = [
        (".".join(map(str, one["loc"])), _TOLD.get(one["type"], one["msg"].removeprefix("Value error, ")))
        for one in error.errors()
    ]
    return "; ".join(f"{place}: {message}" if place else message for place, message in told)
