"""Question in, hits out: encodes, builds the body, asks, and says what was changed on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from opensearch_splade.errors import OspladeError, QueryError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.query.answer import Reading, SearchResult
from opensearch_splade.query.batches import BATCH, together
from opensearch_splade.query.body import documents_body
from opensearch_splade.query.boosted_hits import add_boosts
from opensearch_splade.query.conversation import Call, Conversation, SearchClient, awaited, held
from opensearch_splade.query.exhaustion import Exhaustion, ExhaustOptions, ToTheEnd
from opensearch_splade.query.expanding import expansions, first_plan
from opensearch_splade.query.kept_fields import renamed, translated
from opensearch_splade.query.leg_scores import ask_legs
from opensearch_splade.query.plan import Options, Plan, Wanted, plan
from opensearch_splade.query.seismic_search import DEFAULT_SEARCH, SeismicSearch
from opensearch_splade.query.target import Target
from opensearch_splade.transport import asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from opensearch_splade.query.expansion import Expansion
    from opensearch_splade.types import Capabilities, DenseQueryEncoder, Json, QueryEncoder

_GRACE_S = 1.0  # for which a client waits longer than the server may take: a partial answer is better than none


class _Asking:
    """What asking is, apart from whether answers are awaited."""

    def __init__(self, target: Target) -> None:
        self.target = target
        # Explanations show names, whatever the keys of the stored weights are.
        ids = target.token_ids.items() if target.seismic else ()
        self._names = {str(token_id): name for name, token_id in ids}

    def body(self, text: str, *, expansion: Expansion | None = None, **options: Unpack[Options]) -> Json:
        """The search as one body, for who sends it otherwise. Nothing is sent; options and errors are ``search``'s.

        ``search`` itself takes two requests for a hybrid, which is faster (see ``ranking_only``), and cuts its pages:
        sent as it is, a page of a hybrid that begins beyond the last hit is refused by the server (HTTP 400).

        Args:
            text: The question.
            expansion: What feedback made of it (``expansions``).
            options: Those of ``search``.

        Raises:
            QueryError: Feedback is wanted, whose body depends on the answer to another.
        """
        wanted = Wanted(**options)
        if wanted.feedback and not expansion:
            raise QueryError("feedback takes two searches: first_body is the first, body with expansion= the second")
        planned = plan(text, self.target, wanted, expansion)
        if planned.boosts_afterwards:
            raise QueryError(
                "boosts of a hybrid are no part of one body: they are added to what it has fused. Ask by search, or by "
                "one ranking or a linear combination (:linear), to whose scores the server adds them"
            )
        return renamed(planned.body, self.target.meta)

    def first_body(self, text: str, **options: Unpack[Options]) -> Json:
        """The first search of two where feedback is wanted: for the documents that expand the question.

        Raises:
            QueryError: No feedback is wanted, or what ``search`` raises.
        """
        wanted = Wanted(**options)
        if not wanted.feedback:
            raise QueryError("without feedback there is one search only: body is it")
        return renamed(first_plan(text, self.target, wanted, wanted.feedback).body, self.target.meta)

    def _expansions(self, texts: Sequence[str], wanted: Wanted) -> Conversation[list[Expansion | OspladeError | None]]:
        return expansions(texts, self.target, self._names, wanted, _patience(wanted))

    def exhaust_bodies(self, text: str, **options: Unpack[ExhaustOptions]) -> list[Json]:
        """What ``exhaust`` asks each ranking first. Nothing is sent; options and errors are ``exhaust``'s."""
        return self._exhaustion(text, options).bodies

    def _exhaustion(self, text: str, options: ExhaustOptions) -> Exhaustion:
        return Exhaustion(text, self.target, ToTheEnd(**options), self._names)

    def _one(self, text: str, wanted: Wanted) -> Conversation[SearchResult]:
        [expansion] = yield from self._expansions([text], wanted)
        if isinstance(expansion, OspladeError):
            raise expansion
        planned = plan(text, self.target, wanted, expansion)
        with asking(self.target.index):
            answer = yield Call("search", planned.sent, self.target.index, patience_s=_patience(wanted))
        yield from add_boosts(self.target.index, [(planned, answer)], _patience(wanted))
        [result] = yield from self._read([Reading.of(planned, answer)], wanted)
        return result

    def _many(self, texts: Sequence[str], wanted: Wanted) -> Conversation[list[SearchResult | OspladeError]]:
        found: list[SearchResult | OspladeError] = []
        for start in range(0, len(texts), BATCH):
            batch = texts[start : start + BATCH]
            expanded = yield from self._expansions(batch, wanted)
            planned = [self._planned(text, wanted, one) for text, one in zip(batch, expanded, strict=True)]
            bodies = [each.sent for each in planned if isinstance(each, Plan)]
            answers = iter((yield from together(self.target.index, bodies, patience_s=_patience(wanted))))
            asked = [next(answers) if isinstance(each, Plan) else each for each in planned]
            pairs = zip(planned, asked, strict=True)
            good = [(one, got) for one, got in pairs if isinstance(one, Plan) and not isinstance(got, OspladeError)]
            yield from add_boosts(self.target.index, good, _patience(wanted))
            readings = [_reading(each, answer) for each, answer in zip(planned, asked, strict=True)]
            results = iter((yield from self._read([one for one in readings if isinstance(one, Reading)], wanted)))
            found += [next(results) if isinstance(one, Reading) else one for one in readings]
        return found

    def _planned(self, text: str, wanted: Wanted, expansion: Expansion | OspladeError | None) -> Plan | OspladeError:
        if isinstance(expansion, OspladeError):
            return expansion
        try:
            return plan(text, self.target, wanted, expansion)
        except OspladeError as error:
            return error

    def _read(self, readings: Sequence[Reading], wanted: Wanted) -> Conversation[list[SearchResult]]:
        """The results, with documents from a second request: only hits are opened, not all candidates of hybrids."""
        if places := [place for reading in readings for place in reading.places]:
            body = documents_body(places, "text and weights" if wanted.explain or wanted.passages else "text")
            with asking(self.target.index):
                fetched = yield Call("mget", body, patience_s=_patience(wanted))
            documents: Iterator[Json] = iter(fetched["docs"])
            for reading in readings:
                if reading.places:
                    reading.join([next(documents) for _ in reading.places])
        for reading in readings:
            if len(reading.plan.legs) > 1 or wanted.boosts:
                yield from self._look_into(reading, wanted)
        return [reading.result(self.target, self._names) for reading in readings]

    def _look_into(self, reading: Reading, wanted: Wanted) -> Conversation[None]:
        """What the answer to a hybrid, or to a ranking with boosts, does not say itself."""
        index, patience = self.target.index, _patience(wanted)
        if wanted.explain and reading.found:
            shards = reading.answer["_shards"]["total"]
            reading.legs = yield from ask_legs(index, reading.plan, shards, reading.found, patience)
        if wanted.profile and len(reading.plan.legs) > 1:
            with asking(index):
                profiled = yield Call("search", reading.plan.sent | {"profile": True}, index, patience_s=patience)
            reading.answer["profile"] = profiled.get("profile")


class Searcher(_Asking):
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
        super().__init__(Target(index, IndexMeta.read(client, index), capabilities, sparse, dense, how))

    def search(self, text: str, **options: Unpack[Options]) -> SearchResult:
        """Ask the index.

        Args:
            text: The question.
            options: The attributes of ``Wanted``, all of which have defaults: ``mode``, ``size``, ``start``,
                ``filter``, ``weights``, ``explain``, ``ids_only``, ``timeout``, ``profile``, ``two_step``, ``rescore``…

        Raises:
            QueryError: The question, mode, page or weights are out of bounds.
            TargetError: The index or the searcher lacks what the mode asks.
            CapabilityError: The server cannot do what the mode asks.
            ClusterError: The cluster does not answer or refuses.
        """
        return held(self._client, translated(self._one(text, Wanted(**options)), self.target.meta))

    def search_many(self, texts: Sequence[str], **options: Unpack[Options]) -> list[SearchResult | OspladeError]:
        """Ask many questions in few requests.

        Args:
            texts: The questions.
            options: Those of ``search``, the same for all of them.

        Returns:
            In the order of the questions a result, or the error that this one question met.

        Raises:
            TargetError: There is no such index.
            ClusterError: The cluster does not answer at all.
        """
        return held(self._client, translated(self._many(texts, Wanted(**options)), self.target.meta))

    def expansions(self, texts: Sequence[str], **options: Unpack[Options]) -> list[Expansion | OspladeError | None]:
        """What feedback makes of some questions, for ``body``: the first half of ``search_many``.

        Returns:
            In the order of the questions new weights, or the error that this one met; ``None`` without feedback.

        Raises:
            TargetError: There is no such index.
            ClusterError: The cluster does not answer at all.
        """
        return held(self._client, translated(self._expansions(texts, Wanted(**options)), self.target.meta))

    def exhaust(self, text: str, **options: Unpack[ExhaustOptions]) -> Iterator[SearchResult]:
        """Read a ranking to its end, a page at a time, out of one point in time.

        Each document that matches comes once, best first, whatever is written meanwhile. The order is that of
        ``search``; of equal scores the smaller id comes first. A hybrid is fused here, of all hits of its rankings
        instead of 200 each, so its order is that of ``search_fused`` with so many candidates.

        The point in time is let go at the end, at an error and where the loop is left. Who keeps the iterator in a
        name closes it (``contextlib.closing``), or it goes with the name.

        Args:
            text: The question.
            options: The attributes of ``ToTheEnd``, all of which have defaults.

        Raises:
            QueryError: The question, mode, depth, page or weights are out of bounds.
            TargetError: The index or the searcher lacks what the mode asks.
            CapabilityError: The server cannot do what the mode asks.
            ClusterError: While pages are read: the cluster does not answer, or has lost the place.

        Example:
            >>> for page in searcher.exhaust("bone density", mode="bm25"):  # doctest: +SKIP
            ...     print(page.total, [hit.id for hit in page.hits])
        """
        return self._pages(self._exhaustion(text, options))

    def _pages(self, reading: Exhaustion) -> Iterator[SearchResult]:
        try:
            while page := held(self._client, translated(reading.page(), self.target.meta)):
                yield page
        finally:
            held(self._client, reading.end())


class AsyncSearcher(_Asking):
    """``Searcher`` for an ``opensearchpy.AsyncOpenSearch`` (extra ``async``), made by ``await AsyncSearcher.open``.

    Encoding is done in the event loop: some 20 µs for an inference-free question, milliseconds for one that a model
    encodes.

    Args:
        client: Connected to the cluster.
        target: The index and the encoders.
    """

    def __init__(self, client: SearchClient, target: Target) -> None:
        self._client = client
        super().__init__(target)

    @classmethod
    async def open(
        cls,
        client: SearchClient,
        index: str,
        *,
        capabilities: Capabilities,
        sparse: QueryEncoder | None = None,
        dense: DenseQueryEncoder | None = None,
        how: SeismicSearch = DEFAULT_SEARCH,
    ) -> AsyncSearcher:
        """Reads the mapping's ``_meta``; arguments and errors are those of ``Searcher``."""
        with asking(index):
            mappings = await client.indices.get_mapping(index=index)
        meta = IndexMeta.from_mappings(index, mappings)
        return cls(client, Target(index, meta, capabilities, sparse, dense, how))

    async def search(self, text: str, **options: Unpack[Options]) -> SearchResult:
        """``Searcher.search``."""
        return await awaited(self._client, translated(self._one(text, Wanted(**options)), self.target.meta))

    async def search_many(self, texts: Sequence[str], **options: Unpack[Options]) -> list[SearchResult | OspladeError]:
        """``Searcher.search_many``."""
        return await awaited(self._client, translated(self._many(texts, Wanted(**options)), self.target.meta))

    async def expansions(
        self, texts: Sequence[str], **options: Unpack[Options]
    ) -> list[Expansion | OspladeError | None]:
        """``Searcher.expansions``."""
        return await awaited(self._client, translated(self._expansions(texts, Wanted(**options)), self.target.meta))

    def exhaust(self, text: str, **options: Unpack[ExhaustOptions]) -> AsyncIterator[SearchResult]:
        """``Searcher.exhaust``. Who leaves the loop early wraps it in ``contextlib.aclosing``."""
        return self._pages(self._exhaustion(text, options))

    async def _pages(self, reading: Exhaustion) -> AsyncIterator[SearchResult]:
        try:
            while page := await awaited(self._client, translated(reading.page(), self.target.meta)):
                yield page
        finally:
            await awaited(self._client, reading.end())


def _patience(wanted: Wanted) -> float | None:
    return None if wanted.timeout is None else wanted.timeout + _GRACE_S


def _reading(planned: Plan | OspladeError, answer: Json | OspladeError) -> Reading | OspladeError:
    if isinstance(planned, OspladeError):
        return planned
    return answer if isinstance(answer, OspladeError) else Reading.of(planned, answer)
