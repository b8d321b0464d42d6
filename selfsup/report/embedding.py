"""The map of the embeddings, and each image's neighbours."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsup.evaluation.classifiers.neighbours import neighbours
from selfsup.evaluation.label_free.spectrum import spectrum
from selfsup.report.gallery import Gallery
from selfsup.report.pictures import data_uri, sheet

FEWEST = 8  # fewest images for a map
SHOWN, VOTING = 6, 10  # neighbours, or all other images of fewer
CLUSTERS, IMAGES_A_CLUSTER = 10, 10  # at most, and about, of few images
QUERIES = 10
LEAST_SHARE = 1e-8  # of the variance, below which a direction is rounding


def embedding_map(gallery: Gallery, seed: int = 0) -> dict[str, Any]:
    """Every image's position by PCA and by t-SNE, its label or cluster, and its nearest neighbours.

    Neighbours are other images of the gallery, by cosine.

    Args:
        gallery: of 8 images at least, their features finite.

    Returns:
        The page's data, in plain types.
    """
    count = len(gallery)
    unit = F.normalize(gallery.x, dim=1)
    near = nearest(gallery.x, min(max(SHOWN, VOTING), count - 1))
    found: dict[str, Any] = {
        "count": count,
        "layouts": {"t-SNE": _scaled(tsne(unit, seed)), "PCA": _scaled(principal(unit, 2).numpy())},
        "near": near[:, :SHOWN].tolist(),
        "names": gallery.names,
        "sheet": sheet(gallery.tiles),
    }
    if gallery.labels is None:
        groups = clusters(unit, seed)
        return found | {
            "kind": "cluster",
            "groups": groups.tolist(),
            "group_names": [f"cluster {i + 1}" for i in range(int(groups.max()) + 1)],
        }
    labels = gallery.labels[near[:, :VOTING]]
    agree = (labels == gallery.labels[:, None]).sum(dim=1)
    right = 2 * agree > labels.shape[1]  # most of them: more than half
    return found | {
        "kind": "label",
        "groups": gallery.labels.tolist(),
        "group_names": gallery.classes,
        "voting": labels.shape[1],
        "agree": agree.tolist(),
        "right": right.tolist(),
        "share_right": float(right.double().mean()),
        "same": float((gallery.labels[near[:, 0]] == gallery.labels).double().mean()),
        "by_class": _by_class(gallery, right, labels),
    }


def nearest(x: Tensor, k: int) -> Tensor:
    """Indices ``(N, k)`` of each row's nearest others, by cosine."""
    _, index = neighbours(x, x, k + 1)
    own = index == torch.arange(len(x))[:, None]
    # Among copies of one image another may come first, and the image itself not at all.
    own[:, -1] |= ~own.any(dim=1)
    return index[~own].view(len(x), k)


def tsne(x: Tensor, seed: int = 0) -> np.ndarray:
    """Two coordinates of each row ``(N, 2)`` by t-SNE (van der Maaten and Hinton 2008), by scikit-learn."""
    from sklearn.manifold import TSNE

    reduced = principal(x, min(30, *x.shape)).numpy()
    perplexity = min(30.0, (len(x) - 1) / 3)
    maker = TSNE(perplexity=perplexity, max_iter=500, init="pca", random_state=seed)
    if not reduced.std() > 0:  # collapsed: there is no layout
        return reduced[:, :2]
    return maker.fit_transform(reduced)


def principal(x: Tensor, count: int) -> Tensor:
    """The first principal components ``(N, count)`` of ``x`` ``(N, D)``."""
    centred = x.double() - x.double().mean(dim=0)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    parts = (u * s)[:, :count]
    return F.pad(parts, (0, count - parts.shape[1])).float()


def clusters(x: Tensor, seed: int = 0) -> Tensor:
    """Cluster of each row, by k-means, numbered from the largest."""
    from sklearn.cluster import KMeans

    distinct = len(torch.unique(x, dim=0))
    count = min(CLUSTERS, distinct, max(2, len(x) // IMAGES_A_CLUSTER))
    found = KMeans(count, random_state=seed, n_init=3).fit_predict(x.numpy())
    groups = torch.from_numpy(found).long()
    order = groups.bincount().argsort(descending=True)
    return order.argsort()[groups]


def queries(gallery: Gallery, seed: int = 0) -> list[dict[str, Any]]:
    """Random images with their nearest neighbours; ``right``: whether a neighbour's label agrees."""
    chosen = torch.randperm(len(gallery), generator=torch.Generator().manual_seed(seed))[:QUERIES]
    near = nearest(gallery.x, min(8, len(gallery) - 1))
    return [
        {**_tile(gallery, i, None), "near": [_tile(gallery, j, i) for j in near[i].tolist()]}
        for i in chosen.tolist()
    ]


def _tile(gallery: Gallery, i: int, query: int | None) -> dict[str, Any]:
    label, right = "", None
    if gallery.labels is not None:
        label = gallery.classes[int(gallery.labels[i])]
        right = None if query is None else bool(gallery.labels[i] == gallery.labels[query])
    return {"src": data_uri(gallery.tiles[i]), "name": gallery.names[i], "label": label, "right": right}


def _by_class(gallery: Gallery, right: Tensor, labels: Tensor) -> list[dict[str, Any]]:
    """The share of each class's images among neighbours of their own label, and the most common other label.

    Args:
        right: ``(N,)``, whether most of an image's neighbours have its label.
        labels: ``(N, K)``, of the neighbours.
    """
    assert gallery.labels is not None
    rows = []
    for label in gallery.labels.unique().tolist():
        own = gallery.labels == label
        others = labels[own & ~right]
        others = others[others != label]
        taken = others.bincount() if len(others) else None
        rows.append(
            {
                "name": gallery.classes[label],
                "count": int(own.sum()),
                "share": float(right[own].double().mean()),
                "taken": gallery.classes[int(taken.argmax())] if taken is not None else "",
            }
        )
    return sorted(rows, key=lambda row: row["share"])


def eigenvalues(gallery: Gallery) -> dict[str, list[float]]:
    """Share of the variance along each principal direction, of the encoder and untrained, descending."""
    found = {}
    for name, x in (("trained", gallery.x), ("untrained", gallery.untrained)):
        values = spectrum(x).centred
        total = float(values.sum())
        if total > 0:  # else all features are equal
            shares = [float(value) / total for value in values]
            found[name] = [float(f"{share:.4g}") for share in shares if share > LEAST_SHARE]
    return found


def _scaled(points: np.ndarray) -> list[list[float]]:
    """Coordinates in [0, 1] of both axes on one scale, as columns."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = max(float((high - low).max()), 1e-12)
    unit = (points - (low + high) / 2) / span + 0.5
    return [[round(float(value), 4) for value in column] for column in unit.T]
