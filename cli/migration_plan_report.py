"""The plan of a migration, for people and for machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from opensearch_splade.migration.finding import Finding, Severity, many
from opensearch_splade.migration.forecast import Estimate
from opensearch_splade.migration.plan import Forecast, Plan

_STYLES: dict[Severity, str] = {"stop": "bold red", "warn": "yellow", "note": "cyan"}
_DIFF = {"+": "green", "-": "red", "@": "cyan"}
_INDENT = 8
_PLUGINS = "opensearch-"
_FIELDS, _SETTINGS = "mappings.properties.", "settings.index."


def to_json(plan: Plan) -> dict[str, Any]:
    """For machines."""
    job, cluster = plan.job, plan.cluster
    return {
        "go": plan.go,
        "findings": [finding._asdict() for finding in plan.findings],
        "spec": job.spec.model_dump(mode="json"),
        "server": {"version": job.capabilities.version_text, "plugins": _plugins(plan)},
        "cluster": {
            **{name: getattr(cluster, name) for name in ("name", "status", "shards", "moving", "unassigned")},
            "nodes": [asdict(node) for node in cluster.nodes],
        },
        "source": asdict(plan.old),
        "texts": [text._asdict() for text in plan.texts],
        "target": {
            "name": job.spec.target,
            "fingerprints": job.marker,
            "analyzers": plan.analyzers,
            "body": plan.body,
            **{name: getattr(plan.diff, name) for name in ("added", "removed", "changed", "kept")},
        },
        "sample": _sample(plan),
        "forecast": _forecast(plan.forecast),
    }


def _plugins(plan: Plan) -> list[str]:
    return sorted(name for name in plan.job.capabilities.plugins if name.startswith(_PLUGINS))


def _sample(plan: Plan) -> dict[str, Any] | None:
    if plan.rehearsal is None:
        return None
    names = ("documents", "wordless", "routed", "truncated", "refused", "encodes_only")
    return {name: getattr(plan.rehearsal, name) for name in names}


def _forecast(forecast: Forecast | None) -> dict[str, Any] | None:
    if forecast is None:
        return None
    figures = {name: getattr(forecast, name) for name in ("seconds", "size", "memory", "hours", "money")}
    return {name: one._asdict() if one else None for name, one in figures.items()}


def show(plan: Plan, console: Console, *, with_diff: bool = True) -> None:
    """For people."""
    _section(console, "Cluster", _cluster(plan))
    _section(console, "Old index", _old(plan))
    _section(console, "New index", _new(plan))
    for line in plan.diff.lines if with_diff else ():
        console.print(Text(f"    {line}", _DIFF.get(line[:1], "dim")), soft_wrap=True)
    if plan.forecast and plan.rehearsal:
        tried = many(plan.rehearsal.documents, "document")
        _section(console, f"Forecast, by {tried} tried just now", _figures(plan, plan.forecast))
    _section(console, "Findings", () if plan.findings else ("none",))
    for finding in plan.findings:
        _finding(console, finding)
    console.print(_verdict(plan), soft_wrap=True)


def _verdict(plan: Plan) -> Text:
    stops, warnings = (sum(finding.severity == severity for finding in plan.findings) for severity in ("stop", "warn"))
    if stops:
        return Text(f"no-go: see the {many(stops, 'finding')} marked stop", "bold red")
    first = f" ({many(warnings, 'warning')} to look at first)" if warnings else ""
    return Text(f"go{first}: next is osplade migrate run with the same options", "bold green")


def _section(console: Console, head: str, lines: Iterable[str]) -> None:
    console.print(Text(head, "bold"))
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)


def _finding(console: Console, finding: Finding) -> None:
    """Its lines stand below each other on a terminal, and are left whole for whoever searches in them."""
    told = Text(finding.what)
    if finding.remedy:
        told.append(f"\n→ {finding.remedy}", "bold")
    lines = told.wrap(console, console.width - _INDENT) if console.is_terminal else told.split("\n")
    label = Text(f"  {finding.severity:<{_INDENT - 2}}", _STYLES[finding.severity])
    for line in lines:
        console.print(label + line, soft_wrap=True)
        label = Text(" " * _INDENT)


def _cluster(plan: Plan) -> Iterator[str]:
    yield f"OpenSearch {plan.job.capabilities.version_text} with {', '.join(_plugins(plan)) or 'no plugins'}"
    yield f"{plan.cluster.name}: {plan.cluster.status}, {many(plan.cluster.shards, 'shard')}"
    for node in plan.cluster.nodes:
        yield (
            f"{node.name}: {_bytes(node.free)} of {_bytes(node.disk)} disk free, "
            f"{_bytes(node.heap - node.live)} of {_bytes(node.heap)} heap free"
        )


def _old(plan: Plan) -> Iterator[str]:
    old = plan.old
    if old.documents is not None:
        told = f"{many(old.documents, 'document')}, {_bytes(old.size)}"
        told += f" with {old.deleted:,} deleted ones" if old.deleted else ""
        yield f"{old.name}: {told}, {many(old.shards, 'shard')}, {many(old.replicas, 'replica')}"
    else:
        yield f"{old.name}: cannot be read, {many(old.shards, 'shard')}, {many(old.replicas, 'replica')}"
    yield f"aliases: {', '.join(old.aliases) or 'none'}"
    yield f"fields: {', '.join(f'{count} {kind}' for kind, count in sorted(old.kinds.items()))}"
    for text in plan.texts:
        role = "title" if text.is_title else "text"
        example = _short(text.example) or "(none in the sample)"
        yield f"encoded as {role}: {text.name} ({text.type or 'not mapped'}), e.g. {example}"


def _new(plan: Plan) -> Iterator[str]:
    spec, diff = plan.job.spec, plan.diff
    yield f"{spec.target}: way {spec.way}, bundle {spec.bundle}, fingerprint {' '.join(plan.job.marker)}"
    for did, paths in (("adds", diff.added), ("does without", diff.removed), ("changes", diff.changed)):
        if names := _names(paths):
            yield f"{did}: {', '.join(names)}"
    if plan.analyzers:
        yield f"keeps analyzers: {', '.join(plan.analyzers)}"


def _names(paths: Iterable[str]) -> list[str]:
    """Fields and settings."""
    found = []
    for path in paths:
        if path.startswith(_FIELDS) and path.endswith(".type"):
            found.append(path.removeprefix(_FIELDS).removesuffix(".type").replace(".properties.", "."))
        elif path.startswith(_SETTINGS):
            found.append(path.removeprefix(_SETTINGS))
    return found


def _figures(plan: Plan, forecast: Forecast) -> Iterator[str]:
    for name, told in _told(plan, forecast):
        yield f"{name:<20} {told}"


def _told(plan: Plan, forecast: Forecast) -> Iterator[tuple[str, str]]:
    yield "time", _estimate(forecast.seconds, _time)
    if size := forecast.size:
        times = f", {size.value / plan.old.size:.2g} times the old one's" if plan.old.size else ""
        yield "size of one copy", _estimate(size, _bytes) + times
        if not plan.job.in_place:
            copies = 1 + int(plan.body["settings"]["index"]["number_of_replicas"])
            yield "of all copies", f"{_estimate(size.times(copies), _bytes)} of {_bytes(plan.cluster.free)} free"
    yield "memory here", _estimate(forecast.memory, _bytes)
    yield "a million documents", _estimate(forecast.hours, lambda hours: f"{hours:.2f} h")
    if forecast.money:
        yield "their price", _estimate(forecast.money, lambda money: f"{money:,.2f}")


def _estimate(estimate: Estimate, told: Callable[[float], str]) -> str:
    return f"{told(estimate.value)} ({told(estimate.low)} to {told(estimate.high)})"


def _bytes(number: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"
