"""Query weights counted over the documents of the old index, and kept with the new one."""

from __future__ import annotations

from itertools import islice

from opensearch_splade.migration.documents import documents
from opensearch_splade.migration.history import NOTHING
from opensearch_splade.migration.job import Job
from opensearch_splade.onnx_models.query_weights import DocumentFrequencies
from opensearch_splade.plugin.query_weights import save_query_weights

_AT_ONCE = 500


def count_query_weights(job: Job) -> None:
    """Reads all text once more: while it was copied, documents came twice, or not at all after a crash.

    Raises:
        SourceError: The old index cannot be read.
        ClusterError: The new index' cluster does not answer or refuses.
    """
    if not job.spec.query_weights:
        return
    frequencies = DocumentFrequencies(job.sparse.vocabulary)
    for shard in range(job.source.shards):
        history = job.history(shard)
        for hits in history.read(NOTHING, history.checkpoint()):
            found = documents(hits, job.rules.kept)
            while some := [one.passage for one in islice(found, _AT_ONCE)]:
                frequencies.add(job.sparse.tokenizer.encode(some))
    save_query_weights(job.client, job.spec.target, frequencies.idf(), job.spec.query_weights)
