"""Apply: bring a cluster to what is declared, in order, verified; and back again if a step fails."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from opensearch_splade.errors import OspladeError, SpecError
from opensearch_splade.plugin.ml_connectors import delete_connector
from opensearch_splade.plugin.ml_models import deploy, redeploy, undeploy
from opensearch_splade.plugin.ml_settings import PRIVATE_IP
from opensearch_splade.provisioning import cluster_models, index_changes, settings
from opensearch_splade.provisioning.declared import Declared, Object
from opensearch_splade.provisioning.examine import Examined
from opensearch_splade.provisioning.journal import Journal
from opensearch_splade.provisioning.models import WantedModel
from opensearch_splade.provisioning.proof import model_fault, pipeline_fault
from opensearch_splade.provisioning.stored import INDICES, INGEST, ask
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

Tell = Callable[[str], None]


def require_possible(examined: Examined, *, allow_settings: bool) -> None:
    """Refuses before anything is done.

    Raises:
        SpecError: Something foreign is in the way, cannot be changed in place, or needs a setting that may not be set.
    """
    refused = [f"  {one.kind} {one.name}: {one.reason}" for one in examined.findings if one.does == "refuse"]
    if examined.settings.differences and not allow_settings:
        refused += [f"  cluster setting {one}" for one in examined.settings.differences]
        refused.append("  --allow-settings sets these cluster settings; `remove` gives them back")
    if refused:
        raise SpecError("nothing was changed:\n" + "\n".join(refused))


def apply(declared: Declared, examined: Examined, tell: Tell) -> list[str]:
    """Does what ``examined`` says is to do, and proves that it works.

    Args:
        declared: What should be there.
        examined: What is there.
        tell: Hears of each step before and after it.

    Returns:
        What was done.

    Raises:
        SpecError: A step failed; says which, why, and what was undone.
    """
    journal = Journal(tell)
    try:
        _put_settings(declared, examined, journal)
        ids = _models(declared, examined, journal, tell)
        _objects(declared, ids, journal, tell)
        _prove_pipelines(declared, tell)
    except BaseException as error:
        tell("undoing what this run began")
        undone = journal.roll_back()
        said = "\n".join(f"  {line}" for line in undone) or "  nothing had been changed"
        if isinstance(error, OspladeError):
            raise SpecError(f"{error}\n{said}") from error
        if isinstance(error, KeyboardInterrupt):
            raise SpecError(f"interrupted\n{said}") from error
        raise
    _tidy(declared, examined, ids, journal)
    return journal.done


def _put_settings(declared: Declared, examined: Examined, journal: Journal) -> None:
    if not examined.settings.differences:
        return
    client = declared.client
    before = settings.put(client, declared.spec.name, examined.settings)
    names = ", ".join(one.path for one in examined.settings.differences)
    journal.note(f"cluster settings {names}", lambda: _put_back(client, before))


def _put_back(client: OpenSearch, before: Json) -> None:
    ask(client, "PUT", "/_cluster/settings", before)


def _models(declared: Declared, examined: Examined, journal: Journal, tell: Tell) -> dict[str, str]:
    """Makes and deploys models, all at once, then proves each; gives the ids of all."""
    states = {one.name: one for one in examined.findings if one.kind == "model" and one.state != "left over"}
    # The nodes read it when a model is deployed.
    stale = any(one.path == PRIVATE_IP for one in examined.settings.differences)

    def bring(name: str) -> str:
        client, model, model_id = declared.client, declared.models[name], examined.ids[name]
        does = states[name].does
        if does in {"make", "change"}:
            model_id = cluster_models.make(client, model, journal.note)
        if does != "keep":
            deploy(client, model_id)
            if does == "deploy":
                journal.note(f"deployed {name}", partial(undeploy, client, model_id))
        elif stale and model.is_remote:
            redeploy(client, model_id)
        return model_id

    tell("making and deploying models")
    with ThreadPoolExecutor() as pool:
        ids = dict(zip(declared.models, pool.map(bring, declared.models), strict=True))
    for name, model in declared.models.items():
        _prove(declared.client, model, ids[name], tell)
    return ids


def _prove(client: OpenSearch, model: WantedModel, model_id: str, tell: Tell) -> None:
    tell(f"comparing {model.name} with its bundle")
    if fault := model_fault(client, model, model_id):
        raise SpecError(f"model {model.name}: {fault}")


def _objects(declared: Declared, ids: dict[str, str], journal: Journal, tell: Tell) -> None:
    for one in declared.objects(ids):
        found = one.kind.get(declared.client, one.name)
        if found is None:
            tell(f"making {one.kind.word} {one.name}")
            one.kind.put(declared.client, one.name, one.body)
            journal.note(f"{one.kind.word} {one.name}", partial(_unmake, declared.client, one))
        elif one.kind.owner(found) != declared.spec.name:
            raise SpecError(f"{one.kind.word} {one.name} was made by somebody else meanwhile")
        elif one.kind.differences(found, one.body):
            _change(declared.client, one, found, journal)


def _change(client: OpenSearch, one: Object, found: Json, journal: Journal) -> None:
    what = f"changed {one.kind.word} {one.name}"
    if one.kind is not INDICES:
        one.kind.put(client, one.name, one.body)
        journal.note(what, lambda: one.kind.put(client, one.name, found))
        return
    places = one.kind.differences(found, one.body)
    if fixed := [place for place in places if not index_changes.is_changeable(place)]:
        raise SpecError(index_changes.remedy(one.name, fixed))
    journal.note(what, lambda: index_changes.undo(client, one.name, found, places))
    index_changes.change(client, one.name, one.body, places)


def _unmake(client: OpenSearch, one: Object) -> None:
    if one.kind is INDICES and documents(client, one.name):
        raise SpecError("somebody wrote documents to it meanwhile, so it is left")
    one.kind.delete(client, one.name)


def documents(client: OpenSearch, index: str) -> int:
    """How many an index holds, those just written included; 0 if there is none.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    ask(client, "POST", f"/{index}/_refresh")
    return count(client, index, {"match_all": {}})


def count(client: OpenSearch, index: str, query: Json) -> int:
    """How many documents match, past the index' search pipeline, which may be gone; 0 if there is no index.

    Raises:
        ClusterError: The cluster does not answer or refuses.
    """
    body: Json = {"size": 0, "track_total_hits": True, "query": query}
    found = ask(client, "POST", f"/{index}/_search?search_pipeline=_none", body)
    return int(found["hits"]["total"]["value"]) if found else 0


def _prove_pipelines(declared: Declared, tell: Tell) -> None:
    for key, one in declared.spec.ingest.items():
        name = declared.spec.called(key)
        tell(f"sending documents through {name}")
        if fault := pipeline_fault(declared, name, one):
            raise SpecError(f"{INGEST.word} {name}: {fault}")


def _tidy(declared: Declared, examined: Examined, ids: dict[str, str], journal: Journal) -> None:
    """Deletes what nothing points to any more; what fails here is found again by the next run."""
    client = declared.client
    for kind, name in examined.stored:
        kind.delete(client, name)
        journal.note(f"deleted {kind.word} {name}", _nothing)
    kept = set(ids.values())
    # Looked up again: a request of a killed run may have come to its end meanwhile.
    owned = cluster_models.owned(client, declared.spec.name)
    for name, found in owned.models.items():
        for one in found:
            if one.model.id not in kept:
                cluster_models.unmake(client, one)
                journal.note(f"deleted model {name} ({one.model.id})", _nothing)
    for connector, name in owned.connectors.items():
        delete_connector(client, connector)
        journal.note(f"deleted connector {name}", _nothing)


def _nothing() -> None:
    """What is deleted as left over is not brought back."""
