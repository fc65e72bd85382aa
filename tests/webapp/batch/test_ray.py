"""Segments of a clip on a cluster: an actor stays on one machine."""

import pytest

from webapp.batch.ray import share_nodes


def make_node(cores: int, alive: bool = True) -> dict[str, object]:
    return {"Alive": alive, "Resources": {"CPU": float(cores)} if cores else {}}


@pytest.mark.parametrize(
    ("n_cores", "nodes", "most", "workers"),
    [
        (7, [make_node(8)], 0, 7),
        (15, [make_node(4), make_node(12)], 0, 4),
        (15, [make_node(4, alive=False), make_node(0), make_node(12)], 0, 12),
        (7, [make_node(8)], 3, 3),
        (1, [make_node(2)], 8, 1),
        (0, [], 0, 1),
    ],
)
def test_an_actor_has_the_cores_left_for_it_on_the_smallest_machine(
    n_cores: int, nodes: list[dict[str, object]], most: int, workers: int
) -> None:
    assert share_nodes(n_cores, nodes, most) == workers
