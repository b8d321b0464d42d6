"""Clusters and pairs found by several processes are, to the bit, those of one."""

from pathlib import Path

import torch
import torch.multiprocessing as multiprocessing

import selfsup.curation.kmeans
import selfsup.curation.pairs
from selfsup.curation.draws import draws
from selfsup.curation.hierarchy import hierarchy
from selfsup.curation.kmeans import kmeans
from selfsup.curation.pairs import near_pairs


def found() -> list[torch.Tensor]:
    """Clusters, clusters of clusters, pairs of both kinds, in blocks so small that each process has one."""
    selfsup.curation.kmeans.ENTRIES = 500
    selfsup.curation.pairs.ROWS, selfsup.curation.pairs.KEYS, selfsup.curation.pairs.CELL = 16, 40, 20
    x = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, x[:40] + 0.01])
    tensors = list(kmeans(x, 9, draws(0), 5))
    for level in hierarchy(x, [20, 4], draws(1), rounds=2, iterations=4, parts=5):
        tensors += level
    tensors += near_pairs(x, 0.9)[:3]
    selfsup.curation.pairs.EXACT = 100  # from here on in cells
    tensors += near_pairs(x, 0.9, most=2)[:3]
    return [*tensors, torch.tensor(near_pairs(x, 0.9, most=2).capped)]


def _process(rank: int, folder: str, world: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world)
    torch.save(found(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_three_processes_give_the_bits_of_one(tmp_path: Path, monkeypatch) -> None:
    for name in ("ROWS", "KEYS", "CELL", "EXACT"):
        monkeypatch.setattr(selfsup.curation.pairs, name, getattr(selfsup.curation.pairs, name))
    monkeypatch.setattr(selfsup.curation.kmeans, "ENTRIES", selfsup.curation.kmeans.ENTRIES)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    multiprocessing.spawn(_process, (str(tmp_path), 3), nprocs=3)
    alone = found()
    torch.set_num_threads(threads)
    assert len(alone[-2]) > 20
    for rank in range(3):
        for shared, whole in zip(torch.load(tmp_path / f"{rank}.pt"), alone, strict=True):
            assert torch.equal(shared, whole)
