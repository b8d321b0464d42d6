"""Shards are read by two processes of torchrun, each sample once, each shard by one of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from .test_shards import write_shards

RECORDER = """
import json, os, sys
from selfsup.commands import main
from selfsup.views import ViewPlan

make = ViewPlan.__call__

def record(self, batch, epoch):
    with open(os.path.join({folder!r}, "seen-" + os.environ.get("RANK", "0")), "a") as file:
        print(json.dumps([epoch, batch["index"].tolist()]), file=file)
    return make(self, batch, epoch)

ViewPlan.__call__ = record
sys.exit(main(sys.argv[1:]))
"""


def test_two_processes_see_each_sample_of_the_shards_once(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", n=200, each=5)
    script = tmp_path / "record.py"
    script.write_text(RECORDER.format(folder=str(tmp_path)))
    settings = [
        *(
            "method=simclr",
            "backbone=vit_mini",
            "data=shards",
            f"data.train={tmp_path}/shards/{{0000..0039}}.tar",
        ),
        *("data.source.test_fraction=0.05", "data.image_size=16", "data.workers=1", "batch_size=8"),
        *(
            "backbone.model_args.depth=1",
            "backbone.model_args.embed_dim=32",
            "backbone.model_args.num_heads=2",
        ),
        *(
            "trainer.devices=2",
            "trainer.accelerator=cpu",
            "trainer.max_epochs=2",
            "trainer.precision=32-true",
        ),
        *("trainer.sync_batchnorm=false", "guard.enabled=false", "evaluate=false", "report=false"),
        *(f"out={tmp_path / 'runs'}", "name=one"),
    ]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, str(script), "train", *settings],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

    readers: list[set[int]] = []
    for epoch in (0, 1):
        seen = []
        for rank in (0, 1):
            lines = [json.loads(line) for line in (tmp_path / f"seen-{rank}").read_text().splitlines()]
            batches = [indices for found, indices in lines if found == epoch]
            assert [len(batch) for batch in batches] == [8] * 11  # 190 images, 16 a step
            readers.append({i // 5 for batch in batches for i in batch})
            seen += [i for batch in batches for i in batch]
        assert len(seen) == len(set(seen)) == 176
        assert set(seen) <= set(range(190))
        assert len(readers[-1] & readers[-2]) <= 2  # where their stretches meet
    assert readers[0] != readers[2]
