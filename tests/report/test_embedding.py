"""The map's words about neighbours: most are more than half, and the numbers are those of the labels."""

import torch

from selfsup.report import embedding
from selfsup.report.embedding import embedding_map
from selfsup.report.gallery import Gallery
from selfsup.report.page import _map_says


def gallery(angles: list[float], labels: list[int]) -> Gallery:
    """Images on a circle, whose neighbours are plain to see."""
    angle = torch.tensor(angles)
    x = torch.stack([angle.cos(), angle.sin()], dim=1)
    tiles = torch.zeros(len(x), 3, 4, 4, dtype=torch.uint8)
    names = [str(i) for i in range(len(x))]
    return Gallery(tiles, x, x, torch.tensor(labels), list("abcd"), names)


def test_a_plurality_is_not_most(monkeypatch) -> None:
    monkeypatch.setattr(embedding, "tsne", lambda x, seed: embedding.principal(x, 2).numpy())
    # The first image, of class a, has four of ten neighbours of its class; three of b and three of c.
    near, far = [0.01 * i for i in range(11)], [3 + 0.01 * i for i in range(11)]
    found = embedding_map(gallery(near + far, [0] * 5 + [1] * 3 + [2] * 3 + [3] * 11))
    assert found["agree"][:5] == [4] * 5
    assert found["right"] == [False] * 11 + [True] * 11
    assert found["share_right"] == 0.5
    rows = {row["name"]: row for row in found["by_class"]}
    assert (rows["d"]["share"], rows["d"]["taken"]) == (1.0, "")
    assert (rows["a"]["share"], rows["b"]["taken"], rows["c"]["taken"]) == (0.0, "a", "a")
    assert rows["a"]["taken"] in "bc"  # never its own class, in which no image is mistaken
    assert "More than half of the 10 nearest have the same label for 50.0 % of them" in _map_says(found)


def test_half_is_not_most_and_few_images_have_fewer_neighbours(monkeypatch) -> None:
    monkeypatch.setattr(embedding, "tsne", lambda x, seed: embedding.principal(x, 2).numpy())
    found = embedding_map(gallery([0.1 * i for i in range(9)], [0, 1, 0, 1, 0, 1, 0, 1, 0]))
    assert found["voting"] == 8
    assert found["agree"] == [4, 3] * 4 + [4]
    assert not any(found["right"])
    assert "More than half of the 8 nearest" in _map_says(found)
