"""Several processes share an extraction."""

import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes

from selfsup.evaluation import Cache, evaluate, extract
from tests.evaluation.test_cache import PROTOCOLS
from tests.evaluation.toys import OnDemand, ToyEncoder, coloured

WORLD = 3


def work(rank, folder):
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    encoder, source = ToyEncoder(), OnDemand(11, broken=(4,))
    found = extract(encoder, source, 8, encoder.mean, encoder.std, batch_size=2)
    torch.save((found.x, found.labels, found.index, found.skipped), folder / f"{rank}.pt")
    # Of two evaluations, the first writes the cache and the second reads it, in each process.
    cache = Cache(folder / "cache", 1.0)
    results = [judge(cache) for _ in range(2)]
    torch.save(results, folder / f"results-{rank}.pt")
    dist.destroy_process_group()


def judge(cache=None):
    sources = coloured(41), coloured(20, seed=1)
    return evaluate(ToyEncoder(), *sources, {"name": "toy"}, protocols=PROTOCOLS, batch_size=4, cache=cache)


def test_each_gets_the_features_of_all_and_no_sample_counts_twice(tmp_path):
    start_processes(work, args=(tmp_path,), nprocs=WORLD, start_method="fork")
    encoder, source = ToyEncoder(), OnDemand(11, broken=(4,))
    alone = extract(encoder, source, 8, encoder.mean, encoder.std)
    expected = judge()
    for rank in range(WORLD):
        x, labels, index, skipped = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(x, alone.x)
        assert index.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
        assert torch.equal(labels, alone.labels)
        assert [tuple(image) for image in skipped] == [("picture 4", "it is empty")]
        first, second = torch.load(tmp_path / f"results-{rank}.pt")
        assert first == second
        assert first["n_train"] == 41
        for one, two in zip(first["rows"], expected["rows"], strict=True):
            assert one["scores"]["ridge"]["value"] == two["scores"]["ridge"]["value"]
