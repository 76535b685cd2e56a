"""A bundle behind HTTP, for clusters that call out and anyone else."""

from opensearch_splade.serving.limits import Limits
from opensearch_splade.serving.server import Listening, serve
from opensearch_splade.serving.service import Served

__all__ = ["Limits", "Listening", "Served", "serve"]
