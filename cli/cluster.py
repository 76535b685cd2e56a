"""``osplade cluster``: what an application needs on a cluster, from a file; each command in a file of its own."""

from __future__ import annotations

import click

from opensearch_splade.cli.late_group import LateGroup


class _Commands(LateGroup):
    """Commands of `osplade cluster`, in the order in which they are used."""

    names = ("apply", "diff", "status", "remove", "schema")
    prefix = "cluster_"


@click.group(cls=_Commands)
def cluster() -> None:
    """Sparse search inside OpenSearch, without Python in the application: models, pipelines and indices from a file.

    The file says what should be there; apply shows what differs, makes it so, and proves that the cluster encodes as
    the bundles do. Only what the file's name owns is ever changed. ML Commons must be installed on the cluster.

    \b
    Example:
      osplade serve splade-tiny --port 9229
      osplade cluster diff examples/sparse.yaml
      osplade cluster apply examples/sparse.yaml --allow-settings
      osplade cluster status examples/sparse.yaml
      osplade cluster remove examples/sparse.yaml
    """
