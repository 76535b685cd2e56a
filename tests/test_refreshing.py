"""An index is seldom refreshed while it is filled for the first time, and is as it was afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from opensearch_splade.plugin.segments import LOADING, seldom_refreshed

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

Make = Callable[[str | None], str]


def interval(client: OpenSearch, index: str) -> Any:
    """What the index' settings say, if anything."""
    return client.indices.get_settings(index=index)[index]["settings"]["index"].get("refresh_interval")


@pytest.fixture
def make(client: OpenSearch, index_name: str) -> Make:
    """Makes an index with a refresh interval, or with the cluster's."""

    def made(refresh_interval: str | None) -> str:
        settings = {"number_of_replicas": 0}
        if refresh_interval:
            settings["refresh_interval"] = refresh_interval
        client.indices.create(index=index_name, body={"settings": settings})
        return index_name

    return made


def test_a_new_index_is_seldom_refreshed_until_it_is_full(client: OpenSearch, make: Make) -> None:
    """Also when the run breaks off, whose error is the one that is seen."""
    index = make(None)
    with seldom_refreshed(client, index, made=True):
        assert interval(client, index) == LOADING
    assert interval(client, index) is None
    with pytest.raises(RuntimeError, match="broken off"), seldom_refreshed(client, index, made=True):
        raise RuntimeError("broken off")
    assert interval(client, index) is None


def test_what_a_killed_run_left_is_put_right_by_the_next(client: OpenSearch, make: Make) -> None:
    """The next run finds the index, and knows the interval as ours."""
    index = make(LOADING)
    with seldom_refreshed(client, index, made=False):
        assert interval(client, index) == LOADING
    assert interval(client, index) is None


@pytest.mark.parametrize(("refresh_interval", "made"), [(None, False), ("30s", False), ("-1", True), ("5s", True)])
def test_other_settings_are_left_alone(
    client: OpenSearch, make: Make, refresh_interval: str | None, *, made: bool
) -> None:
    """Those of an index that was there before, and those that a template or a user made."""
    index = make(refresh_interval)
    with seldom_refreshed(client, index, made=made):
        assert interval(client, index) == refresh_interval
    assert interval(client, index) == refresh_interval


def test_an_index_that_is_deleted_meanwhile_hides_no_error(client: OpenSearch, make: Make) -> None:
    """What went wrong first is what is told."""
    index = make(None)

    def fail() -> None:
        with seldom_refreshed(client, index, made=True):
            client.indices.delete(index=index)
            raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        fail()
