"""Question in, hits out: encodes, builds the body, asks, and says what was changed on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from opensearch_splade.errors import QueryError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.query.body import Returned, documents_body, ranking_only, search_body
from opensearch_splade.query.clauses import filtered
from opensearch_splade.query.explanation import contributions, lexical_contributions
from opensearch_splade.query.fusion import hybrid, pool_depth
from opensearch_splade.query.legs import Question
from opensearch_splade.query.limits import count_clauses
from opensearch_splade.query.mode import Mode
from opensearch_splade.query.requirements import PAGINATION_DEPTH
from opensearch_splade.query.seismic_search import DEFAULT_SEARCH, SeismicSearch
from opensearch_splade.query.target import Target
from opensearch_splade.query.two_step import in_two_steps
from opensearch_splade.transport import asking
from opensearch_splade.types import Contribution, Hit, passage_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearch_splade.query.mode import Leg
    from opensearch_splade.query.pruning import QueryPruning
    from opensearch_splade.types import Capabilities, DenseQueryEncoder, Features, Json, QueryEncoder


class SearchClient(Protocol):
    """What is used of an ``opensearchpy.OpenSearch``."""

    @property
    def indices(self) -> Any:
        """The index API; ``get_mapping`` is used."""
        ...

    def search(self, *, index: Any, body: Any) -> Any:
        """``POST {index}/_search``."""
        ...

    def mget(self, *, body: Any) -> Any:
        """``POST _mget``."""
        ...


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one question.

    Attributes:
        hits: Best first.
        took_ms: Time the server took for the ranking, in milliseconds.
        body: The search body as sent, of the ranking where a hybrid needs two.
        notices: What was changed in the question, is missing in the index or incomplete in the answer.
    """

    hits: tuple[Hit, ...]
    took_ms: int
    body: Json
    notices: tuple[str, ...] = ()


class Searcher:
    """Asks one index.

    The mapping's ``_meta`` is read once, here; a hit that another bundle encoded (after an alias moved) is noticed
    when it comes.

    Args:
        client: Connected to the cluster.
        index: An index or alias made by this package.
        capabilities: What the server can do (``plugin.capabilities.probe``).
        sparse: Gives query weights; without it only ``bm25`` and ``knn`` can be asked.
        dense: Gives query vectors; without it there is no ``knn``.
        how: How thoroughly a ``sparse_vector`` field is searched (SEISMIC); of no effect on other fields.

    Raises:
        TargetError: The index does not exist, is not one of ours, or was encoded by other bundles.
        ClusterError: The cluster does not answer.
    """

    def __init__(
        self,
        client: SearchClient,
        index: str,
        *,
        capabilities: Capabilities,
        sparse: QueryEncoder | None = None,
        dense: DenseQueryEncoder | None = None,
        how: SeismicSearch = DEFAULT_SEARCH,
    ) -> None:
        self._client = client
        meta = IndexMeta.read(client, index)
        self.target = Target(index, meta, capabilities, sparse, dense, how)
        # Explanations show names, whatever the keys of the stored weights are.
        ids = self.target.token_ids.items() if self.target.seismic else ()
        self._names = {str(token_id): name for name, token_id in ids}

    def search(  # noqa: PLR0913 - a question has as many sides
        self,
        text: str,
        *,
        mode: Mode | str = "hybrid",
        size: int = 10,
        start: int = 0,
        filter: Json | None = None,
        weights: Sequence[float] | None = None,
        explain: bool = False,
        ids_only: bool = False,
        two_step: QueryPruning | None = None,
    ) -> SearchResult:
        """Ask the index.

        Args:
            text: The question.
            mode: A ``Mode`` or its text, e.g. ``neural-sparse`` or ``bm25+knn:rrf``; ``hybrid`` fuses all there is.
            size: Hits to return.
            start: Hits to skip before them.
            filter: One query object that hits must match, e.g. ``{"term": {"metadata.lang": "en"}}``.
            weights: Of the legs of a hybrid, in their order.
            explain: Tell for each hit what gave its score: each feature of a sparse ranking (in a hybrid, of its sparse
                part), each word of ``bm25`` alone. kNN has no such parts.
            ids_only: Hits come without text, which is faster where only the ranking matters.
            two_step: Of one sparse ranking: which features find the candidates, which all features then score.

        Raises:
            QueryError: The question, mode, page or weights are out of bounds.
            TargetError: The index or the searcher lacks what the mode asks.
            CapabilityError: The server cannot do what the mode asks.
            ClusterError: The cluster does not answer or refuses.
        """
        legs, question, body = self._plan(text, mode, size, start, filter, weights, explain, two_step)
        if ids_only or len(legs) > 1:
            body = ranking_only(body)
        with asking(self.target.index):
            answer = self._client.search(index=self.target.index, body=body)
        found = [_flat(hit) for hit in answer["hits"]["hits"]]
        notices = [*question.notices, *_incomplete(answer)]
        if ids_only or len(legs) > 1:
            found = _with_ids(_once_each(found)[start : start + size], notices)
        if len(legs) > 1 and found and not ids_only:
            found = self._documents(found, "text and weights" if explain else "text", notices)
        notices += _foreign(found, self.target.fingerprints(legs))
        hits = tuple(_hit(hit, question.weights, self._names) for hit in found)
        return SearchResult(hits, took_ms=answer["took"], body=body, notices=tuple(notices))

    def _documents(self, found: list[Json], returned: Returned, notices: list[str]) -> list[Json]:
        """The ranking with its documents, from a second request: only these are opened, not those of all candidates."""
        with asking(self.target.index):
            fetched = self._client.mget(body=documents_body([(hit["_index"], hit["_id"]) for hit in found], returned))
        joined = [{**hit, **document} for hit, document in zip(found, fetched["docs"], strict=True)]
        if gone := [hit["_id"] for hit in joined if not hit.get("found")]:
            notices.append(f"{len(gone)} hits (e.g. {gone[0]!r}) could not be read any more: deleted in the meantime?")
        return [hit for hit in joined if hit.get("found")]

    def body(
        self,
        text: str,
        *,
        mode: Mode | str = "hybrid",
        size: int = 10,
        start: int = 0,
        filter: Json | None = None,
        weights: Sequence[float] | None = None,
        explain: bool = False,
        two_step: QueryPruning | None = None,
    ) -> Json:
        """The search as one body, for who sends it otherwise. Nothing is sent; arguments and errors are ``search``'s.

        ``search`` itself takes two requests for a hybrid, which is faster (see ``ranking_only``), and cuts its pages:
        sent as it is, a page of a hybrid that begins beyond the last hit is refused by the server (HTTP 400).
        """
        return self._plan(text, mode, size, start, filter, weights, explain, two_step)[2]

    def _plan(
        self,
        text: str,
        mode: Mode | str,
        size: int,
        start: int,
        filter: Json | None,
        weights: Sequence[float] | None,
        explain: bool,
        two_step: QueryPruning | None,
    ) -> tuple[tuple[Leg, ...], Question, Json]:
        mode = mode if isinstance(mode, Mode) else Mode.parse(mode)
        legs = mode.legs or self.target.legs
        capabilities = self.target.capabilities
        # A hybrid puts the filter into every leg, and SEISMIC has it twice; kNN takes a clause too.
        copies = len(legs) + (self.target.seismic is not None)
        reserved = len(legs) + copies * (count_clauses(filter) if filter else 0)
        question = Question(
            text,
            self.target,
            room=capabilities.max_clause_count - reserved,
            counted_legs=sum(leg != "knn" for leg in legs),
        )
        depth = pool_depth(start + size)
        queries = [question.leg(leg, k=depth) for leg in legs]
        question.notices += self._missing(mode)
        if len(queries) == 1:
            if weights is not None:
                raise QueryError(f"weights are for the legs of a hybrid; here {legs[0]} is asked alone")
            query, pipeline = filtered(queries[0], filter) if filter else queries[0], None
        else:
            if start and mode.fusion != "linear":
                capabilities.require(PAGINATION_DEPTH)
            query, pipeline = hybrid(
                queries,
                method=mode.fusion or "min_max",
                weights=weights,
                filter=filter or None,
                pagination_depth=depth,
                capabilities=capabilities,
            )
        returned: Returned = "text and weights" if explain and question.weights else "text"
        body = search_body(query, size=size, start=start, search_pipeline=pipeline, returned=returned)
        if explain and legs == ("bm25",):
            body["explain"] = True
        if self.target.store == "documents":  # of the passages of a document the best one is its hit
            if len(legs) == 1:
                body["collapse"] = {"field": "id"}
            else:  # OpenSearch 3.6.0 loses documents where a hybrid collapses, so all candidates come and we do it
                body["size"], body["from"] = depth, 0
        if two_step:
            body = in_two_steps(body, two_step)
        return legs, question, body

    def _missing(self, mode: Mode) -> list[str]:
        """What ``hybrid`` fuses fewer rankings for than the index or the encoders would allow."""
        if mode.legs:
            return []
        given: list[tuple[Leg, object]] = [
            ("neural-sparse", self.target.sparse or self.target.meta.sparse),
            ("knn", self.target.dense or self.target.meta.dense),
        ]
        lacks = [self.target.lacks(leg) for leg, anything in given if anything]
        return [f"hybrid without that ranking: {lack}" for lack in lacks if lack]


def _flat(hit: Json) -> Json:
    """A hit with its id and fingerprints in the same places, whether they come from doc values or from the source."""
    fields = hit.get("fields", {})
    identity, number = (next(iter(fields.get(name, [])), None) for name in ("id", "number"))
    stored_as = identity if identity is None or number is None else passage_id(identity, number)
    return {"_source": {"encoded": fields.get("encoded", []), "id": identity}, "_id": stored_as, **hit}


def _once_each(found: list[Json]) -> list[Json]:
    """Of hits with one id, as passages of a document have, the best."""
    seen: dict[object, Json] = {}
    for place, hit in enumerate(found):
        seen.setdefault(place if hit["_id"] is None else (hit["_index"], hit["_source"]["id"]), hit)
    return list(seen.values())


def _with_ids(found: list[Json], notices: list[str]) -> list[Json]:
    """Hits that carry their id as a field, as all do that this package wrote."""
    known = [hit for hit in found if hit["_id"] is not None]
    if len(known) < len(found):
        notices.append(f"{len(found) - len(known)} hits are left out: others wrote them, without the field 'id'")
    return known


def _hit(hit: Mapping[str, Any], features: Features, names: Mapping[str, str]) -> Hit:
    source = hit["_source"]
    passage, why = _best_passage(source, features, names)
    lexical = hit.get("_explanation")
    return Hit(
        id=source.get("id") or hit["_id"],  # of a passage the document's
        score=hit["_score"],
        title=source.get("title", ""),
        text=source.get("text", ""),
        metadata=source.get("metadata", {}),
        why=tuple(lexical_contributions(lexical) if lexical else why),
        passage=passage,
    )


def _best_passage(
    source: Mapping[str, Any], features: Features, names: Mapping[str, str]
) -> tuple[str, list[Contribution]]:
    """What gave a hit its sparse score, and the text of the passage that did, where passages lie in the document."""

    def why(vector: Mapping[str, float]) -> list[Contribution]:
        return contributions(features, {names.get(key, key): weight for key, weight in vector.items()})

    passages = [(one, why(one["sparse"])) for one in source.get("passages", ()) if "sparse" in one]
    if not passages:
        return "", why(source.get("sparse", {}))
    best, found = max(passages, key=lambda each: sum(one.score for one in each[1]))
    return (source["text"][best["start"] : best["end"]] if found else ""), found


def _incomplete(answer: Mapping[str, Any]) -> list[str]:
    notices = ["the server ran out of time: hits may be missing"] if answer["timed_out"] else []
    shards = answer["_shards"]
    if shards["failed"]:
        notices.append(f"{shards['failed']} of {shards['total']} shards did not answer: hits may be missing")
    return notices


def _foreign(found: Sequence[Mapping[str, Any]], fingerprints: frozenset[str]) -> list[str]:
    """Hits whose vectors come from another bundle than the question's: their scores mean nothing."""
    foreign = [hit["_id"] for hit in found if not fingerprints <= set(hit["_source"].get("encoded", []))]
    if not foreign:
        return []
    notice = (
        f"{len(foreign)} of {len(found)} hits (e.g. {foreign[0]!r}) were not encoded by the bundle that asks: "
        "their scores cannot be trusted; ingest them again, or make a new searcher if an alias has moved"
    )
    return [notice]
