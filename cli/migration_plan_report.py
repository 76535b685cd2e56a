"""The plan of a migration, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from opensearch_splade.migration.finding import Severity
from opensearch_splade.migration.forecast import Estimate
from opensearch_splade.migration.plan import Forecast, Plan

_STYLES: dict[Severity, str] = {"stop": "bold red", "warn": "yellow", "note": "cyan"}
_PLUGINS = "opensearch-"


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

    def say(text: str = "", style: str = "") -> None:
        console.print(Text(text, style))

    job, old = plan.job, plan.old
    say("Cluster", "bold")
    say(f"  OpenSearch {job.capabilities.version_text} with {', '.join(_plugins(plan)) or 'no plugins'}")
    say(f"  {plan.cluster.name}: {plan.cluster.status}, {plan.cluster.shards:,} shards")
    for node in plan.cluster.nodes:
        say(
            f"  {node.name}: {_bytes(node.free)} of {_bytes(node.disk)} disk free, "
            f"{_bytes(node.heap - node.live)} of {_bytes(node.heap)} heap free"
        )
    say("Old index", "bold")
    say(
        f"  {old.name}: {old.documents:,} documents, {_bytes(old.size)}, {old.shards} shards, {old.replicas} replicas"
        + (f", {old.deleted:,} deleted" if old.deleted else "")
    )
    say(f"  aliases: {', '.join(old.aliases) or 'none'}")
    say(f"  fields: {', '.join(f'{count} {kind}' for kind, count in sorted(old.kinds.items()))}")
    for text in plan.texts:
        role = "title" if text.is_title else "text"
        say(f"  {role} {text.name} ({text.type or 'not mapped'}): {_short(text.example) or '(none in the sample)'}")
    say("New index", "bold")
    diff = plan.diff
    say(f"  {job.spec.target} ({job.spec.way}), bundle {job.spec.bundle}, fingerprint {' '.join(job.marker)}")
    say(f"  {len(diff.added)} added, {len(diff.removed)} removed, {len(diff.changed)} changed, {diff.kept} kept")
    if plan.analyzers:
        say(f"  analyzers kept: {', '.join(plan.analyzers)}")
    if with_diff:
        for line in diff.lines:
            say(f"    {line}", {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim"))
    if plan.forecast and plan.rehearsal:
        say(f"Forecast by {plan.rehearsal.documents:,} documents", "bold")
        for name, told in _figures(plan.forecast):
            say(f"  {name:<22} {told}")
    say("Findings", "bold")
    for finding in plan.findings:
        console.print(Text(f"  {finding.severity}  ", _STYLES[finding.severity]) + Text(finding.what, ""))
        if finding.remedy:
            say(f"        → {finding.remedy}", "dim")
    say("go" if plan.go else "no-go: see what stops it", "bold green" if plan.go else "bold red")


def _figures(forecast: Forecast) -> list[tuple[str, str]]:
    found = [("time", _estimate(forecast.seconds, _time))]
    if forecast.size:
        found.append(("size of one copy", _estimate(forecast.size, _bytes)))
    found.append(("memory here", _estimate(forecast.memory, _bytes)))
    found.append(("a million documents", _estimate(forecast.hours, lambda hours: f"{hours:,.2f} h")))
    if forecast.money:
        found.append(("", _estimate(forecast.money, lambda money: f"{money:,.2f}")))
    return found


def _estimate(estimate: Estimate, told: Any) -> str:
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
