"""The history of a shard against a model: whatever is written while it is read, the last state of all comes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from opensearch_splade.migration.history import NOTHING, History

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

STEPS = 60
IDS = [f"d{number}" for number in range(8)]
MAPPINGS = {"properties": {"value": {"type": "long"}}}
KINDS = ("index", "index", "update", "delete", "refresh", "flush")


@dataclass
class Users:
    """Who writes to the index, at random, and what it holds then."""

    client: OpenSearch
    index: str
    chance: random.Random
    model: dict[str, int] = field(default_factory=dict)
    writes: int = 0
    steps: int = 0

    def step(self) -> None:
        """One of ``KINDS``."""
        self.steps += 1
        id_, kind = self.chance.choice(IDS), self.chance.choice(KINDS)
        if kind in ("refresh", "flush"):
            getattr(self.client.indices, kind)(index=self.index)
        elif kind == "index":
            self.client.index(index=self.index, id=id_, body={"value": self.writes})
            self._wrote(id_)
        elif id_ in self.model and kind == "update":
            self.client.update(index=self.index, id=id_, body={"doc": {"value": self.writes}})
            self._wrote(id_)
        elif id_ in self.model:
            self.client.delete(index=self.index, id=id_)
            self._wrote(id_)
            del self.model[id_]

    def _wrote(self, id_: str) -> None:
        self.model[id_] = self.writes
        self.writes += 1


def bring(history: History, copy: dict[str, int], after: int, users: Users | None = None) -> int:
    """One round into the copy, while users write on; numbers only grow, and stay within the checkpoint."""
    upto = history.checkpoint()
    for page in history.read(after, upto, page=2):
        numbers = [hit["_seq_no"] for hit in page]
        assert [after, *numbers] == sorted({after, *numbers})
        after = numbers[-1]
        assert after <= upto
        copy |= {hit["_id"]: hit["_source"]["value"] for hit in page}
        # So many that some are refreshed while pages are left: they are past the checkpoint, and do not come.
        for _ in range(users.chance.randrange(5) if users else 0):
            users.step()
    for id_ in history.missing(sorted(copy)):
        del copy[id_]
    return upto


@pytest.mark.parametrize("durability", ["request", "async"])
@pytest.mark.parametrize("seed", range(2))
def test_reading_on_sees_the_last_state_of_all(client: OpenSearch, index_name: str, seed: int, durability: str) -> None:
    """Inserts, updates, deletes and refreshes in any order, between pages and between rounds.

    What is acknowledged when a round begins is within its checkpoint, and in the copy when the round ends, unless it
    was written again meanwhile; after a round in quiet the copy is the model.
    """
    settings = {"number_of_replicas": 0, "refresh_interval": "-1", "translog.durability": durability}
    client.indices.create(index=index_name, body={"settings": settings, "mappings": MAPPINGS})
    users = Users(client, index_name, random.Random(seed))  # noqa: S311 - no secret
    history, copy, position = History(client, index_name, 0), dict[str, int](), NOTHING
    while users.steps < STEPS:
        for _ in range(users.chance.randrange(1, 9)):
            users.step()
        begun, writes = dict(users.model), users.writes
        position = bring(history, copy, position, users)
        assert position == writes - 1
        untouched = {id_: value for id_, value in begun.items() if users.model.get(id_) == value}
        assert untouched.items() <= copy.items()
        assert copy.keys() <= users.model.keys()
        assert {id_ for ids in history.ids() for id_ in ids} == users.model.keys()
    bring(history, copy, position)
    assert copy == users.model
    assert history.count() == len(users.model)
