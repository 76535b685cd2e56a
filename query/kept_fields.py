"""An index that keeps documents as others wrote them, asked and answered in our words.

Everything else here speaks of ``id``, ``title``, ``text``, ``metadata``, ``sparse`` and ``encoded``. What these are
called in such an index, or made of, its ``_meta`` says; requests are translated on their way out, answers on their way
in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opensearch_splade.index_meta import IndexMeta
    from opensearch_splade.kept_meta import KeptMeta
    from opensearch_splade.query.conversation import Call, Conversation
    from opensearch_splade.types import Json

T = TypeVar("T")

OURS = ("id", "encoded", "hash", "sparse", "dense", "passages", "static")
"""What this package writes beside a document that it keeps as it was."""


def translated(conversation: Conversation[T], meta: IndexMeta) -> Conversation[T]:
    """The same conversation with an index of any kind."""
    kept = meta.kept
    if kept is None:
        return (yield from conversation)
    try:
        call = next(conversation)
        while True:
            try:
                answer = yield _outgoing(call, meta)
            except Exception as error:  # noqa: BLE001 - the conversation translates it, or raises it again
                call = conversation.throw(error)
            else:
                for hit in _hits(call.api, answer):
                    _incoming(hit, meta, kept)
                call = conversation.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


def renamed(body: Json, meta: IndexMeta) -> Json:
    """A search or ``_mget`` body with our fields by the names that they have in the index."""
    if meta.kept is None:
        return body
    found = dict(body)
    if "docvalue_fields" in body:
        found["docvalue_fields"] = [meta.name(field) for field in body["docvalue_fields"]]
    if isinstance(source := body.get("_source"), dict):
        found["_source"] = {rule: [_path(field, meta) for field in fields] for rule, fields in source.items()}
    if "sort" in body:
        found["sort"] = [_sorted(by, meta) for by in body["sort"]]
    if "docs" in body:
        found["docs"] = [renamed(one, meta) for one in body["docs"]]
    return found


def _sorted(by: Json | str, meta: IndexMeta) -> Json | str:
    return {meta.name(field): order for field, order in by.items()} if isinstance(by, dict) else by


def _path(field: str, meta: IndexMeta) -> str:
    head, dot, rest = field.partition(".")
    return f"{meta.name(head)}{dot}{rest}"


def _outgoing(call: Call, meta: IndexMeta) -> Call:
    body = call.body
    if body is None:
        return call
    sent = [renamed(one, meta) for one in body] if isinstance(body, list) else renamed(body, meta)
    return replace(call, body=sent)


def _hits(api: str, answer: Json) -> Iterable[Json]:
    if api == "mget":
        return [one for one in answer["docs"] if one.get("found")]
    if api in {"create_pit", "delete_pit"}:
        return []
    answers = answer["responses"] if api == "msearch" else [answer]
    return [hit for one in answers for hit in one.get("hits", {}).get("hits", [])]


def _incoming(hit: Json, meta: IndexMeta, kept: KeptMeta) -> None:
    names = {meta.name(ours): ours for ours in OURS}
    if "fields" in hit:
        hit["fields"] = {names.get(field, field): values for field, values in hit["fields"].items()}
    if source := hit.get("_source"):
        title, text = kept.read(source)
        ours = {names[field]: value for field, value in source.items() if field in names}
        theirs = {field: value for field, value in source.items() if field not in names and field not in kept.spoken}
        hit["_source"] = {**ours, "title": title, "text": text, "metadata": theirs}
