"""``osplade node``: a local OpenSearch node without Docker."""

from __future__ import annotations

import json

import click
from rich.console import Console

from opensearch_splade.errors import NodeError
from opensearch_splade.plugin import node as local
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.node_versions import VERSIONS


@click.group()
def node() -> None:
    """A local OpenSearch node, without Docker.

    It listens on 127.0.0.1 only, keeps its data between starts, and is found by the other commands when no --url is
    given. It needs Java 21 or newer; the extra [node] brings one. Folders: OPENSEARCH_SPLADE_CACHE (the server, can be
    fetched again) and OPENSEARCH_SPLADE_NODE (its data).
    """


@node.command()
@click.option("--heap", default="1g", show_default=True, help="Java heap, e.g. 512m or 2g.")
@click.option("--port", type=click.IntRange(1, 65535), help="HTTP port. [default: the first free one from 9200 on]")
@click.option("--ml-commons", is_flag=True, help="With ML Commons, for `osplade cluster` (390 MB more).")
@click.option("--json", "as_json", is_flag=True, help="Print what runs as JSON.")
def start(heap: str, port: int | None, *, ml_commons: bool, as_json: bool) -> None:
    """Start the node and wait until it answers.

    The first start downloads 180 MB. Starting a node that runs changes nothing.

    \b
    Example:
      osplade node start --heap 2g
    """
    before = local.running_node()
    versions = VERSIONS.with_ml_commons() if ml_commons else VERSIONS
    running = local.start(heap=heap, port=port, versions=versions, console=Console(stderr=True))
    if before and ml_commons:
        _require_ml_commons(running)
    if as_json:
        click.echo(json.dumps(_described(running)))
    elif before and before.pid == running.pid:
        click.echo(f"OpenSearch {running.version} is already running at {running.url} (pid {running.pid})")
    else:
        click.echo(f"OpenSearch {running.version} is ready at {running.url} (pid {running.pid})")


@node.command()
@click.option("--purge", is_flag=True, help="Delete the node's data, all indices, as well.")
def stop(*, purge: bool) -> None:
    """Stop the node and wait until it is gone. Its data stays, unless --purge is given.

    \b
    Example:
      osplade node stop --purge
    """
    with Console(stderr=True).status("stopping ..."):
        stopped = local.stop(purge=purge)
    done = f"stopped the node at {stopped.url}" if stopped else "no local node is running"
    click.echo(f"{done}; its data is deleted" if purge else done)


@node.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(*, as_json: bool) -> None:
    """Say whether the node runs, and where. The exit code is 0 when it does and 1 when not.

    \b
    Example:
      osplade node status --json
    """
    running = local.running_node()
    if as_json:
        click.echo(json.dumps(_described(running) if running else {"running": False}))
    elif running:
        where = f"pid {running.pid}, data in {running.data}"
        click.echo(f"OpenSearch {running.version} at {running.url}: {local.health(running)} ({where})")
    else:
        click.echo("no local node is running; `osplade node start` starts one")
    if not running:
        raise click.exceptions.Exit(1)


def _require_ml_commons(node: local.LocalNode) -> None:
    with connect(node.url) as client:
        if "opensearch-ml" not in probe(client).plugins:
            raise NodeError(
                f"the node that runs at {node.url} has no ML Commons: `osplade node stop`, then start it again with "
                "--ml-commons; its data stays"
            )


def _described(running: local.LocalNode) -> dict[str, object]:
    return {
        "running": True,
        "url": running.url,
        "pid": running.pid,
        "version": running.version,
        "health": local.health(running),
        "data": str(running.data),
        "log": str(running.log),
    }
