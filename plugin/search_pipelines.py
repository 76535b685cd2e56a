"""Search pipelines kept on the cluster, for who may not send one in each body or wants an index default."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from opensearch_splade.errors import ClusterError
from opensearch_splade.plugin.client import address

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.types import Json

PREFIX = "osplade-"


def pipeline_name(pipeline: Json) -> str:
    """Named after its content, so one name never means two pipelines and equal ones are stored once."""
    content = json.dumps(pipeline, sort_keys=True, separators=(",", ":"))
    return PREFIX + hashlib.sha256(content.encode()).hexdigest()[:16]


def stored_pipeline(client: OpenSearch, pipeline: Json) -> str:
    """Store a search pipeline unless it is there already.

    Args:
        client: Connected to the cluster.
        pipeline: As ``hybrid`` gives it.

    Returns:
        Its name, for ``search_body(search_pipeline=...)`` or ``index.search.default_pipeline``. Nothing of ours deletes
        it: others may ask by it.

    Raises:
        ClusterError: The cluster does not answer, refuses the pipeline, or this user may not store one.
    """
    from opensearchpy.exceptions import AuthorizationException, NotFoundError, OpenSearchException

    name = pipeline_name(pipeline)
    try:
        try:
            client.transport.perform_request("GET", f"/_search/pipeline/{name}")
        except NotFoundError:
            client.transport.perform_request("PUT", f"/_search/pipeline/{name}", body=pipeline)
    except AuthorizationException as error:
        raise ClusterError(
            f"{address(client)}: this user may not store search pipelines (403); its role needs "
            "cluster:admin/search/pipeline/get and .../put, or send the pipeline within the search body"
        ) from error
    except OpenSearchException as error:
        raise ClusterError(f"{address(client)} does not store the search pipeline {name}: {error}") from error
    return name
