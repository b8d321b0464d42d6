"""An attentive probe: a learned query pools the tokens before a linear classifier."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup.evaluation.classifiers.heads import cosine
from selfsup.evaluation.classifiers.probes import stratified
from selfsup.evaluation.errors import NoScore
from selfsup.evaluation.features.extract import Features
from selfsup.evaluation.registry import Count, Decays, Fraction, Positives
from selfsup.evaluation.score import Score, absent, accuracy, edge

WARMUP = 0.1


class AttentivePool(nn.Module):
    """Tokens ``(N, L, D)`` to scores ``(N, C)``: one cross-attention block with one query, then linear."""

    def __init__(self, width: int, classes: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.empty(width))
        nn.init.trunc_normal_(self.query, std=0.02)
        self.norm, self.keys_values = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, tokens: Tensor) -> Tensor:
        samples, length, width = tokens.shape
        both = self.keys_values(self.norm(tokens)).view(samples, length, 2, self.heads, -1)
        keys, values = both.permute(2, 0, 3, 1, 4)
        query = self.query.view(1, self.heads, 1, -1).expand(samples, -1, -1, -1)
        pooled = F.scaled_dot_product_attention(query, keys, values).reshape(samples, width)
        pooled = self.query + self.out(pooled)
        scores: Tensor = self.head(pooled + self.mlp(pooled))
        return scores


def score(
    train: Features,
    test: Features,
    *,
    rates: Positives,
    decays: Decays,
    epochs: Count,
    batch: Count,
    head_width: Count,
    holdout: Fraction,
    seed: int,
) -> Score:
    """Accuracy of the probe whose rate and decay were best on a hold-out of the training split."""
    assert train.labels is not None
    assert test.labels is not None
    tokens, rows = train.parts["tokens"]
    asked, asked_rows = test.parts["tokens"]
    present, target = train.labels[rows].unique(return_inverse=True)
    truth = test.labels[asked_rows]
    held = stratified(target, holdout, seed)
    if len(present) < 2 or not held.any():
        raise NoScore("an attentive probe needs two classes, and a class with two training samples")
    grid = [(rate, decay) for rate in rates for decay in decays]
    settings = {"epochs": epochs, "batch": batch, "head_width": head_width}

    def fitted(rows: Tensor, rate: float, decay: float) -> AttentivePool:
        width = tokens.shape[2]
        heads = max(1, width // head_width)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            probe = AttentivePool(width, len(present), heads if width % heads == 0 else 1)
        return _fit(probe, tokens, target, rows, rate, decay, epochs, batch, seed)

    fit, check = (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)
    found = {
        (rate, decay): _accuracy(fitted(fit, rate, decay), tokens[check], target[check])
        for rate, decay in grid
    }
    best = max(found, key=lambda each: found[each])
    probe = fitted(torch.arange(len(target)), *best)
    return accuracy(
        present[_predict(probe, asked)],
        truth,
        split=f"hold-out of {len(check)} training samples",
        seed=seed,
        n_train=len(target),
        n_test=len(truth),
        settings=settings
        | {
            "chosen": {"rate": best[0], "decay": best[1]},
            "holdout_accuracy": {f"rate={r:g} decay={d:g}": value for (r, d), value in found.items()},
        },
        citation="one cross-attention block as in Bardes et al. 2024, arXiv:2404.08471",
        flags=absent(present, truth)
        + edge(best[0], {r: found[r, d] for r, d in grid if d == best[1]}, "largest rate"),
    )


def _fit(
    probe: AttentivePool,
    tokens: Tensor,
    target: Tensor,
    rows: Tensor,
    rate: float,
    decay: float,
    epochs: int,
    batch: int,
    seed: int,
) -> AttentivePool:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=rate, weight_decay=decay)
    steps, step = epochs * -(-len(rows) // batch), 0
    for _ in range(epochs):
        for taken in rows[torch.randperm(len(rows), generator=generator)].split(batch):
            warm = min(1.0, (step + 1) / (WARMUP * steps))
            optimizer.param_groups[0]["lr"] = rate * warm * cosine(step / steps)
            loss = F.cross_entropy(probe(tokens[taken].float()), target[taken])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return probe


@torch.inference_mode()
def _predict(probe: AttentivePool, tokens: Tensor) -> Tensor:
    return torch.cat([probe(block.float()).argmax(1) for block in tokens.split(512)])


def _accuracy(probe: AttentivePool, tokens: Tensor, target: Tensor) -> float:
    return (_predict(probe, tokens) == target).double().mean().item()
