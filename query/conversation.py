"""What is asked of a cluster, apart from who waits for it: one logic for clients that block and clients that await."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

from opensearch_splade.types import Json

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class SearchClient(Protocol):
    """What is used of an ``opensearchpy.OpenSearch``, or of an ``AsyncOpenSearch``, whose answers are awaited."""

    @property
    def indices(self) -> Any:
        """The index API; ``get_mapping`` is used."""
        ...

    def search(self, *, index: Any, body: Any, params: Any = None) -> Any:
        """``POST {index}/_search``."""
        ...

    def msearch(self, *, index: Any, body: Any, params: Any = None) -> Any:
        """``POST {index}/_msearch``."""
        ...

    def mget(self, *, body: Any, params: Any = None) -> Any:
        """``POST _mget``."""
        ...

    def create_pit(self, *, index: Any, params: Any = None) -> Any:
        """``POST {index}/_search/point_in_time``."""
        ...

    def delete_pit(self, *, body: Any, params: Any = None) -> Any:
        """``DELETE _search/point_in_time``."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        api: A method of the client.
        body: What is sent; ``None`` for ``create_pit``, which takes none.
        index: Where to; empty for ``mget``, whose documents name theirs, and for a search at a point in time.
        patience_s: How long the client waits; ``None`` is its own time-out.
        params: What stands in the URL.
    """

    api: Literal["search", "msearch", "mget", "create_pit", "delete_pit"]
    body: Any
    index: str = ""
    patience_s: float | None = field(default=None, kw_only=True)
    params: Json = field(default_factory=dict, kw_only=True)

    def by(self, client: Any) -> Any:
        """The answer, or what is to be awaited for it."""
        arguments: Json = {} if self.body is None else {"body": self.body}
        if self.index:
            arguments["index"] = self.index
        patience = {} if self.patience_s is None else {"request_timeout": self.patience_s}
        if params := {**self.params, **patience}:
            arguments["params"] = params
        method: Callable[..., Any] = getattr(client, self.api)
        return method(**arguments)


Conversation: TypeAlias = Generator[Call, Any, T]
"""Yields calls, is sent their answers (or thrown their errors), and returns what came of it."""


def held(client: Any, conversation: Conversation[T]) -> T:
    """Asks call after call.

    Raises:
        OspladeError: What the conversation makes of the client's errors.
    """
    try:
        call = next(conversation)
        while True:
            try:
                answer = call.by(client)
            except Exception as error:  # noqa: BLE001 - the conversation translates it, or raises it again
                call = conversation.throw(error)
            else:
                call = conversation.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def awaited(client: Any, conversation: Conversation[T]) -> T:
    """``held`` for a client whose answers are awaited."""
    try:
        call = next(conversation)
        while True:
            try:
                answer = await call.by(client)
            except Exception as error:  # noqa: BLE001 - the conversation translates it, or raises it again
                call = conversation.throw(error)
            else:
                call = conversation.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
