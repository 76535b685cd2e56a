"""From what was said of systems to systems that can ask."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import orjson

from opensearch_splade.cli.wiring import Cluster, QueryBundles, open_cluster, open_searchers
from opensearch_splade.errors import TargetError
from opensearch_splade.evaluation.system_spec import SystemSpec
from opensearch_splade.evaluation.systems import System, systems
from opensearch_splade.evaluation.templates import SPARSE, VECTOR, Template
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.query import PrunedQueries, QueryPruning, Searcher, SeismicSearch, check_body
from opensearch_splade.query.mode import SPARSE_LEGS


@dataclass(frozen=True)
class Asking:
    """What was said on the command line.

    Attributes:
        index: Where systems ask that name no index of their own.
        specs: Name to spec of the named ones.
        modes: Each asked with every query side.
        query_side: ``auto`` for all.
        bundles: How questions are encoded where a spec says nothing else.
        url: The cluster.
        insecure: Whether its certificate is not verified.
    """

    index: str | None
    specs: Mapping[str, SystemSpec]
    modes: Sequence[str]
    query_side: str
    bundles: QueryBundles
    url: str | None
    insecure: bool
    _opened: dict[tuple[str, str | None, str | None], dict[str, Searcher]] = field(default_factory=dict)

    @cached_property
    def cluster(self) -> Cluster:
        """Connected when it is first needed."""
        return open_cluster(self.url, insecure=self.insecure)

    def open(self) -> list[System]:
        """All systems: the named ones, the modes, and where neither is given, those worth comparing.

        Raises:
            OspladeError: An index, an encoder or a template is missing or does not fit.
        """
        chosen = [self._named(name, spec) for name, spec in self.specs.items()]
        if self.index and (self.modes or not self.specs):
            chosen += self._by_mode(self.index)
        return chosen

    def _by_mode(self, index: str) -> list[System]:
        sides = self._searchers(index, self.bundles.sparse, self.bundles.dense)
        if self.query_side != "auto":
            sides = {self.query_side: self._side(index, self.bundles, self.query_side)}
        return [self._of(system.name, system.spec, index) for system in systems(sides, self.modes)]

    def _named(self, name: str, spec: SystemSpec) -> System:
        index = spec.index or self.index
        if not index:
            raise TargetError(f"system {name!r} names no index; give --index, or write index=NAME into it")
        return self._of(name, spec, index)

    def _of(self, name: str, spec: SystemSpec, index: str) -> System:
        template = Template.load(spec.template) if spec.template else None
        given = self.bundles
        bundles = replace(given, sparse=spec.bundle or given.sparse, dense=spec.dense_bundle or given.dense)
        try:
            plain = self._side(index, bundles, spec.query_side or self.query_side)
        except TargetError:
            if template is None or template.places & {SPARSE, VECTOR}:
                raise
            return System(name, spec, index, template=template)  # of anyone's making
        if template:
            check_body(template.body, plain.target.capabilities)
        spec = replace(spec, bundle=bundles.sparse or "", dense_bundle=bundles.dense or "")
        if _asks_sparse(spec, template):
            spec = replace(
                spec,
                query_side=spec.query_side or _side_of(plain),
                query_prune=spec.query_prune or given.pruning,
                seismic=spec.seismic or given.how,
            )
        asker = self._variant(plain, spec.query_prune, spec.seismic)
        return System(name, spec, index, asker, template, _encoders(plain))

    def _side(self, index: str, bundles: QueryBundles, side: str) -> Searcher:
        sides = self._searchers(index, bundles.sparse, bundles.dense)
        if side not in {"auto", *sides}:  # says what there is
            sides = open_searchers(self.cluster, index, QueryBundles(bundles.sparse, bundles.dense), side)
        return sides[side] if side in sides else next(iter(sides.values()))

    def _searchers(self, index: str, sparse: str | None, dense: str | None) -> dict[str, Searcher]:
        """Opened once: models are large."""
        key = (index, sparse, dense)
        if key not in self._opened:
            self._opened[key] = open_searchers(self.cluster, index, QueryBundles(sparse, dense))
        return self._opened[key]

    def _variant(self, searcher: Searcher, pruning: QueryPruning | None, how: SeismicSearch | None) -> Searcher:
        target = searcher.target
        if not (pruning or how):
            return searcher
        sparse = PrunedQueries(target.sparse, pruning) if pruning and target.sparse else target.sparse
        client, capabilities = self.cluster.client, target.capabilities
        return Searcher(
            client, target.index, capabilities=capabilities, sparse=sparse, dense=target.dense, how=how or target.how
        )


def _asks_sparse(spec: SystemSpec, template: Template | None) -> bool:
    if template:
        return SPARSE in template.places
    legs = spec.mode.legs if spec.mode else ()
    return not legs or any(leg in SPARSE_LEGS for leg in (*legs, spec.rescore))


def _side_of(searcher: Searcher) -> str:
    sparse = searcher.target.sparse
    return sparse.query_side if isinstance(sparse, SparseEncoder) else ""


def _encoders(searcher: Searcher) -> str:
    """A hash of everything that makes queries out of questions."""
    target = searcher.target
    parts: list[object] = [target.meta.query_weights and target.meta.query_weights.id]
    if isinstance(target.sparse, SparseEncoder):
        parts += [target.sparse.query_side, sorted(target.sparse.bundle.manifest.files.items())]
    if isinstance(target.dense, DenseEncoder):
        parts.append(sorted(target.dense.bundle.manifest.files.items()))
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()[:16]
