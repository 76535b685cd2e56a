"""Verification: whatever is done to the new index is found and named; what is only written just now is not."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from migrated import COUNT, Migrated, migrated

from opensearch_splade.cli.main import main
from opensearch_splade.errors import MigrationError
from opensearch_splade.migration.differences import HitReader, component_difference, feature_difference
from opensearch_splade.migration.samples import wrong_scores
from opensearch_splade.migration.verification import Verification
from opensearch_splade.migration.verify import verify

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.plugin.launcher import RunningNode

pytestmark = pytest.mark.server


@contextmanager
def _indices(client: OpenSearch) -> Iterator[str]:
    name = f"test-verify-{uuid.uuid4().hex[:8]}"
    try:
        yield name
    finally:
        client.indices.delete(index=f"{name}-old,{name}-new", params={"ignore_unavailable": "true"})


@pytest.fixture(scope="module")
def pair(client: OpenSearch, collections_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migrated]:
    """One migration, which each test leaves as it was."""
    with _indices(client) as name:
        yield migrated(client, name, collections_dir, tmp_path_factory.mktemp("state") / "migration")


def _kinds(found: Verification) -> dict[str, int]:
    return {kind: number for kind, number in found.counts.items() if number}


def test_a_faithful_copy_is_proved(pair: Migrated) -> None:
    """All documents, all vectors, and scores to the last float; the step is noted with its counts."""
    found = verify(pair.job, sample=10**6)
    assert found.is_clean, found
    assert (found.old, found.new, found.sampled, found.unproved) == (COUNT, COUNT, COUNT, 0.0)
    assert found.scores > found.questions > 40
    taken = pair.job.state.last("verified")
    assert taken is not None
    assert taken.found["clean"] is True
    assert (taken.found["old"], taken.found["differences"]) == (COUNT, {})


def _other_text(source: dict[str, Any]) -> None:
    source["body"] = "Something else."


def _weight(source: dict[str, Any]) -> None:
    feature = max(source["sparse"], key=source["sparse"].get)
    source["sparse"][feature] *= 1.01


def _no_feature(source: dict[str, Any]) -> None:
    del source["sparse"][max(source["sparse"], key=source["sparse"].get)]


def _fingerprint(source: dict[str, Any]) -> None:
    source["encoded"] = ["0123456789abcdef"]


def _hash(source: dict[str, Any]) -> None:
    source["hash"] = "0" * 32


Damage = Callable[[dict[str, Any]], None]


@pytest.mark.parametrize(
    ("damage", "kinds", "words"),
    [
        (_other_text, {"content": 1, "stale": 1}, "other body"),
        (_weight, {"vector": 1}, "its text gives"),
        (_no_feature, {"vector": 1}, "weighs 0, its text gives"),
        (_fingerprint, {"marker": 1}, "encoded by 0123456789abcdef"),
        (_hash, {"stale": 1}, "its hash is another"),
    ],
)
def test_a_changed_document_is_found_and_named(
    pair: Migrated, damage: Damage, kinds: dict[str, int], words: str
) -> None:
    """By what was changed in it, and by nothing else."""
    before = pair.get("d7")
    changed = json.loads(json.dumps(before))
    damage(changed)
    pair.put("d7", changed)
    try:
        found = verify(pair.job, sample=COUNT)
    finally:
        pair.put("d7", before)
    assert _kinds(found) == kinds
    assert {one.id for one in found.examples} == {"d7"}
    assert words in found.examples[0].what


def test_a_lost_and_an_added_document_are_found(pair: Migrated) -> None:
    """The one by its absence; the other also where it has none of our fields; nothing is repaired behind the back."""
    before = pair.get("d8")
    pair.delete("d8")
    pair.put("stranger", {"id": 1, "title": "A stranger"})
    try:
        found = verify(pair.job, sample=20)
    finally:
        pair.put("d8", before)
        pair.delete("stranger")
    assert _kinds(found) == {"lost": 1, "extra": 1}
    assert {(one.kind, one.id) for one in found.examples} == {("lost", "d8"), ("extra", "stranger")}
    taken = pair.job.state.last("verified")
    assert taken is not None
    assert taken.found["clean"] is False


def test_an_id_that_is_there_twice_is_found(pair: Migrated) -> None:
    """With another routing it lies in the other shard, where a search by id finds both."""
    before = pair.get("d9")
    routings = (f"r{number}" for number in count())
    for routing in routings:
        pair.put("d9", before, routing=routing)
        total = pair.client.count(index=pair.new)["count"]
        if total > COUNT:
            break
    try:
        found = verify(pair.job, sample=0)
    finally:
        pair.client.delete(index=pair.new, id="d9", params={"routing": routing, "refresh": "true"})
    assert _kinds(found) == {"duplicate": 1}
    assert found.examples[0].what == "2 there, 1 in the old index"


def test_a_refused_document_is_lost_by_its_reason(pair: Migrated) -> None:
    """What the new index refuses is named as such: no vector helps a field that it cannot have."""
    pair.client.indices.put_mapping(index=pair.old, body={"properties": {"later": {"type": "keyword"}}})
    pair.put("refused", {"id": 5, "title": "A late field", "later": "x"}, pair.old)
    try:
        found = verify(pair.job, sample=0)
    finally:
        pair.delete("refused", pair.old)
    assert _kinds(found) == {"lost": 1}
    assert found.examples[0].what.startswith("the new index refused it: ")
    assert "later" in found.examples[0].what


def test_what_is_wrong_is_brought_over_again_on_request(pair: Migrated) -> None:
    """Lost, changed and wrong ones become what they were; what others wrote to the new index is left to people."""
    before = {id_: pair.get(id_) for id_ in ("d11", "d12", "d13")}
    pair.delete("d11")
    pair.put("d12", before["d12"] | {"body": "Something else."})
    pair.put("d13", before["d13"] | {"sparse": {"fox": 1.0}})
    pair.put("stranger", {"id": 1, "title": "A stranger"})
    found = verify(pair.job, sample=COUNT, repair=True)
    assert _kinds(found) == {"lost": 1, "content": 1, "stale": 1, "vector": 1, "extra": 1}
    assert found.repaired == 3
    assert {id_: pair.get(id_) for id_ in before} == before
    assert pair.get("stranger")
    assert _kinds(verify(pair.job, sample=COUNT)) == {"extra": 1}
    pair.delete("stranger")


def test_writes_meanwhile_are_no_differences(pair: Migrated) -> None:
    """A live index: documents change, come and go during all of it, and nothing of that is reported."""
    ended = threading.Event()
    written = list[str]()

    def write() -> None:
        for number in count():
            if ended.is_set():
                return
            id_ = f"d{20 + number % 50}"
            source = pair.get(id_, pair.old)
            pair.client.index(index=pair.old, id=id_, body=source | {"body": f"Written anew, {number}."})
            pair.client.index(index=pair.old, id=f"fresh{number % 7}", body={"id": number, "title": "Fresh"})
            pair.client.delete(index=pair.old, id=f"fresh{number % 7}")
            written.append(id_)
            ended.wait(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = verify(pair.job, sample=COUNT)
    finally:
        ended.set()
        writer.join()
    assert len(written) > 10
    assert found.is_clean, found
    quiet = verify(pair.job, sample=COUNT)
    assert quiet.is_clean, quiet
    assert quiet.old == quiet.new == COUNT


def test_the_command_ends_with_3_and_names_what_differs(node: RunningNode, pair: Migrated) -> None:
    """And with 0 where nothing does; as JSON too."""

    def run(*more: str) -> Any:
        where = ["--url", node.url, "--state", str(pair.job.folder)]
        return CliRunner().invoke(main, ["migrate", "verify", *where, "--sample", "30", *more])

    clean = run()
    assert clean.exit_code == 0, clean.output
    assert "no difference" in clean.stdout
    assert "with 95 % confidence" in clean.stdout
    before = pair.get("d8")
    pair.delete("d8")
    try:
        told, parsed = run(), run("--json")
    finally:
        pair.put("d8", before)
    assert told.exit_code == parsed.exit_code == 3
    assert "1 lost (in the old index, not in the new one):\n  d8" in told.stdout
    assert "next: osplade migrate verify --repair" in told.stdout
    report = json.loads(parsed.stdout)
    assert report["clean"] is False
    assert report["counts"]["lost"] == 1
    assert report["examples"] == [{"kind": "lost", "id": "d8", "what": ""}]


def test_in_place_the_index_is_held_against_itself(client: OpenSearch, collections_dir: Path, tmp_path: Path) -> None:
    """A document that is written without vectors gets them; a false vector is found."""
    with _indices(client) as name:
        pair = migrated(client, name, collections_dir, tmp_path / "state", count=60, way="in-place")
        pair.put("plain", {"id": 1, "title": "Written by the application"})
        found = verify(pair.job, sample=100)
        assert found.is_clean, found
        assert (found.old, found.new, found.sampled) == (61, 61, 61)
        assert pair.get("plain")["sparse"]
        changed = pair.get("d3")
        _weight(changed)
        pair.put("d3", changed)
        assert _kinds(verify(pair.job, sample=100)) == {"vector": 1}
        with pytest.raises(MigrationError, match="in place write a wrong document again as your application does"):
            verify(pair.job, repair=True)


def test_it_refuses_before_anything_was_brought_over(pair: Migrated) -> None:
    """And after the new index took over, when both differ by what users wrote."""
    state = pair.job.state
    steps = list(state.record.steps)
    try:
        state.record.steps = [one for one in steps if one.step != "caught-up"]
        with pytest.raises(
            MigrationError, match="nothing to verify yet: bring the documents over with `osplade migrate"
        ):
            verify(pair.job)
        state.record.steps = list(steps)
        state.note("cut-over")
        with pytest.raises(MigrationError, match=r"the new index serves since .* can no longer be compared"):
            verify(pair.job)
        state.note("rolled-back")
        state.note("cleaned")
        with pytest.raises(MigrationError, match="was cleaned up"):
            verify(pair.job)
    finally:
        state.record.steps = steps
        state.save()


def test_a_score_that_its_vector_does_not_give_is_found(pair: Migrated) -> None:
    """Here the index searches features that its documents do not show."""
    [about] = pair.client.indices.get(index=pair.new).values()
    other, mappings = f"{pair.old.removesuffix('-old')}-blind", dict(about["mappings"])
    mappings["_source"] = {"excludes": ["sparse"]}
    pair.client.indices.create(index=other, body={"mappings": mappings})
    try:
        pair.put("d1", pair.get("d1"), other)
        job = replace(pair.job, spec=pair.job.spec.model_copy(update={"target": other}))
        found = Verification()
        [wrong] = wrong_scores(job, [pair.get("d1")["title"], ""], found)
    finally:
        pair.client.indices.delete(index=other)
    assert (wrong.kind, wrong.id) == ("score", "d1")
    assert wrong.what.endswith("its vector gives 0")
    assert found.questions == 1, "of nothing nothing is asked"


def test_rounding_is_no_difference_and_more_is() -> None:
    """Neighbouring weights are the same, computed twice; one step more is not, nor is a feature that is not faint."""
    assert feature_difference({"fox": 1.0}, {"fox": 1.0 + 2**-8}) == ""
    assert "'fox' weighs 1.01172" in feature_difference({"fox": 1.0}, {"fox": 1.0 + 3 * 2**-8})
    assert feature_difference({"fox": 1.0, "dog": 5e-4}, {"fox": 1.0}) == ""
    assert "'dog' weighs 0, its text gives 0.002" in feature_difference({"fox": 1.0, "dog": 0.002}, {"fox": 1.0})
    assert component_difference([0.5, 0.5], [0.5, 0.5005]) == ""
    assert "off by 0.1" in component_difference([0.5, 0.5], [0.5, 0.6])
    assert component_difference([0.5], []) == "0 components, its text gives 1"


def test_an_id_with_two_routings_in_both_is_no_difference(pair: Migrated) -> None:
    """Each of its documents must be there, whichever order they come in; one that is missing is named by number."""
    reader = HitReader(pair.job.meta, frozenset(pair.job.marker))
    sources = [pair.get("d1"), pair.get("d2")]
    one, two = ({"_id": "x", "_seq_no": 1, "_primary_term": 1, "_source": source} for source in sources)
    assert reader.differences("x", [one, two], [two, one]) == []
    [lost] = reader.differences("x", [one, two], [one])
    assert (lost.kind, lost.what) == ("lost", "1 there, 2 in the old index")
    assert [each.kind for each in reader.differences("x", [one, two], [one, one])] == ["content"]
