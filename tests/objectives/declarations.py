"""Every objective declares itself here; `test_objectives.py` puts all of them to the same tests."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from selfsup.objectives import (
    barlow_twins,
    byol,
    capi,
    cross_entropy,
    data2vec,
    data2vec_targets,
    dcl,
    diet,
    dino,
    distill_layer,
    distill_relations,
    distill_tokens,
    floors,
    frossl,
    ibot,
    koleo,
    latent_prediction,
    lejepa,
    look,
    masked_reconstruction,
    matched_cells,
    mixed_barlow,
    mmcr,
    moco,
    moco_v3,
    msn,
    nnclr,
    nt_xent,
    patchify,
    relational,
    ressl,
    sigreg,
    simsiam,
    sla_aggregate,
    sla_distill,
    sla_joint,
    spectral_contrastive,
    sup_con,
    swav,
    tico,
    tico_moment,
    triplet,
    vicreg,
    view_batch,
)
from selfsup.objectives.distributed import gather, rank

from . import references

Inputs = dict[str, Any]


@dataclass(frozen=True)
class Golden:
    """Value, norm of the gradient and its first element, for the first learned argument or a view of it."""

    inputs: Inputs
    value: float
    norm: float
    first: float
    settings: dict[str, Any] = field(default_factory=dict)
    view: int | slice | None = None  # whose gradient it is; None: all


@dataclass(frozen=True)
class Trivial:
    """A solution that needs no learning, and the floor that says what it is worth."""

    inputs: Inputs
    floor: float
    within: float = 1e-9
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Declaration:
    """What a test needs to know about an objective.

    `draw(n, generator)` gives float64 arguments for n samples; `learned` names those that a network puts out;
    `sample_axis` says where the samples are (arguments that are not named there belong to no sample).
    `symmetries` change the arguments and not the value; `peer` is lightly's value for float32 arguments.
    """

    objective: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    draw: Callable[[int, torch.Generator], Inputs]
    learned: tuple[str, ...]
    sample_axis: dict[str, int]
    settings: tuple[dict[str, Any], ...]
    trivial: dict[str, Trivial]
    symmetries: dict[str, Callable[[Inputs], Inputs]]
    golden: tuple[Golden, ...] = ()
    peer: Callable[[Inputs], Tensor] | None = None
    fewest: int = 1


def wave(shift: float, *shape: int) -> Tensor:
    """sin(.9 i + 1.7 j + .31 i j + 2.3 b + shift): inputs that need no random numbers."""
    *batch, rows, columns = shape
    i = torch.arange(rows, dtype=torch.float64)[:, None]
    j = torch.arange(columns, dtype=torch.float64)
    phase = 0.9 * i + 1.7 * j + 0.31 * i * j + shift
    if batch:
        phase = phase + 2.3 * torch.arange(batch[0], dtype=torch.float64)[:, None, None]
    return phase.sin()


Z1 = wave(0.1, 12, 6)
Z2 = Z1 + 0.4 * wave(2, 12, 6)
P1, P2 = wave(4, 12, 6), wave(5, 12, 6)
THREE = torch.stack([Z1, Z2, Z1 + 0.4 * wave(1, 12, 6)])
QUEUE = normalize(wave(3, 20, 6))
TOKENS, OTHER_TOKENS = (torch.stack([wave(s + b, 5, 3) for b in range(2)]) for s in (0.4, 1.9))
CLASSES = torch.stack([2 * wave(0.3 * view, 6, 4) for view in range(3)])
TEACHER = 3 * torch.stack([wave(s, 12, 10) for s in (0.5, 1.6)])
FLAT = torch.diag(torch.tensor([1.0, 1, 1, 0, 0, 0])).double()  # onto half of the dimensions
ROTATION = torch.linalg.qr(wave(0.3, 6, 6))[0]
ORDER = [3, 0, 5, 1, 4, 2]


def two_views(n: int, generator: torch.Generator) -> Inputs:
    z1 = torch.randn(n, 6, generator=generator, dtype=torch.float64) + 0.5
    noise = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    return {"z1": z1, "z2": z1 + 0.7 * noise}


def predicted(n: int, generator: torch.Generator) -> Inputs:
    views = two_views(n, generator)
    return {"prediction": views["z1"], "target": views["z2"]}


def queued(n: int, generator: torch.Generator) -> Inputs:
    views = two_views(n, generator)
    queue = torch.randn(20, 6, generator=generator, dtype=torch.float64) + 0.5
    return {"query": views["z1"], "key": views["z2"], "queue": queue}


def taught(n: int, generator: torch.Generator) -> Inputs:
    inputs = queued(n, generator)
    return {"student": inputs["query"], "teacher": inputs["key"], "queue": inputs["queue"]}


def taught_tokens(n: int, generator: torch.Generator) -> Inputs:
    return {
        "student": torch.randn(n, 3, 6, generator=generator, dtype=torch.float64),
        "teacher": torch.randn(n, 3, 4, generator=generator, dtype=torch.float64),
    }


def asked(n: int, generator: torch.Generator) -> Inputs:
    views = two_views(n, generator)
    return {"query": views["z1"], "key": views["z2"]}


def neighbouring(n: int, generator: torch.Generator) -> Inputs:
    inputs = queued(n, generator)
    return {"prediction": inputs["query"], "projection": inputs["key"], "queue": inputs["queue"]}


def mixtures(n: int, generator: torch.Generator) -> Inputs:
    views = two_views(n, generator)
    noise = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    share = torch.rand(n, generator=generator, dtype=torch.float64)
    partner = views["z2"].roll(3, 0)
    mixed = share[:, None] * views["z1"] + (1 - share[:, None]) * partner + 0.7 * noise
    return {**views, "partner": partner, "mixed": mixed, "share": share}


def cells(n: int, generator: torch.Generator) -> Inputs:
    first, noise = torch.randn(2, n, 3, 6, generator=generator, dtype=torch.float64)
    return {"cells1": first + 0.3, "cells2": first + 0.7 * noise}


def covarying(n: int, generator: torch.Generator) -> Inputs:
    earlier = torch.randn(20, 6, generator=generator, dtype=torch.float64) + 0.5
    return {**two_views(n, generator), "moment": tico_moment(earlier)}


def small_views(n: int, generator: torch.Generator) -> Inputs:
    """Of standard deviations around VICReg's hinge, which half of the dimensions are below."""
    scale = torch.tensor([0.2, 0.5, 0.7, 1.3, 1.6, 2.0], dtype=torch.float64)
    return {name: z * scale for name, z in two_views(n, generator).items()}


def one_view(n: int, generator: torch.Generator) -> Inputs:
    return {"z": torch.randn(n, 6, generator=generator, dtype=torch.float64) + 0.3}


def views(n: int, generator: torch.Generator) -> Inputs:
    noise = torch.randn(4, n, 6, generator=generator, dtype=torch.float64)
    return {"z": one_view(n, generator)["z"] + 0.5 * noise}


def anchored(n: int, generator: torch.Generator) -> Inputs:
    target = torch.randn(n, 6, generator=generator, dtype=torch.float64) + 0.5
    return {
        "anchors": target + torch.randn(3, n, 6, generator=generator, dtype=torch.float64),
        "target": target,
        "prototypes": torch.randn(10, 6, generator=generator, dtype=torch.float64),
    }


def related(n: int, generator: torch.Generator) -> Inputs:
    alike, unlike = torch.randn(2, 3, n, 4, generator=generator, dtype=torch.float64)
    return {"alike": 2 * alike + 1, "unlike": alike + unlike}


def named(n: int, generator: torch.Generator) -> Inputs:
    logits = 2 * torch.randn(n, 10, generator=generator, dtype=torch.float64)
    return {"logits": logits, "index": torch.arange(n) * 3 % 10}


def transformed(n: int, generator: torch.Generator) -> Inputs:
    """Of five classes, each in three transforms."""
    logits = 2 * torch.randn(n, 15, generator=generator, dtype=torch.float64)
    return {"logits": logits, "labels": torch.arange(n) * 3 % 5, "transform": torch.arange(n) * 2 % 3}


def aggregated(n: int, generator: torch.Generator) -> Inputs:
    single, several = torch.randn(2, n, 6, generator=generator, dtype=torch.float64)
    weight = torch.arange(n) % 4 < 3
    return {"single": single, "aggregated": several, "weight": weight / weight.sum().double()}


def classified(n: int, generator: torch.Generator) -> Inputs:
    inputs = named(n, generator)
    return {"logits": inputs["logits"], "labels": inputs["index"]}


def labelled(n: int, generator: torch.Generator) -> Inputs:
    """Of three classes, of sizes that differ; the last sample's class is nobody else's."""
    labels = torch.arange(n) ** 2 % 5
    labels[-1] = 9
    # More alike than other inputs: of a thousand samples no two are nearly equally near to a third.
    z = torch.randn(n, 6, generator=generator, dtype=torch.float64) + 1
    return {"z": z, "labels": labels}


def labelled_views(n: int, generator: torch.Generator) -> Inputs:
    return {**views(n, generator), "labels": labelled(n, generator)["labels"]}


def by_labels(objective: Callable[..., Tensor], graded: bool = True) -> Callable[..., Tensor]:
    """A function of positives as one of labels, which make them: weights that differ, or the same class."""

    def of_labels(z: Tensor, labels: Tensor, weighted: bool = graded, **settings: Any) -> Tensor:
        apart = (labels[:, None] - gather(labels)).abs()
        weights = 0.5 ** apart.to(z.dtype) * (apart < 3)
        return objective(z, weights if weighted else apart == 0, **settings)

    return of_labels


def of_views(declaration: Declaration, objective: Callable[..., Tensor], reference: Any) -> Declaration:
    """An objective of a relation without any: each sample belongs with itself, of whatever process it is."""

    def literally(z: Tensor, labels: Tensor, **settings: Any) -> Tensor:
        return reference(z, torch.eye(len(labels)), **settings)

    def ours(z: Tensor, labels: Tensor, **settings: Any) -> Tensor:
        return objective(z, **settings)

    return replace(declaration, objective=ours, reference=literally, settings=({},), trivial={}, golden=())


def of_relation(objective: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of two views and positives as one of labels; the one like all has itself alone."""

    def of_labels(z1: Tensor, z2: Tensor, labels: Tensor, **settings: Any) -> Tensor:
        own = torch.arange(len(labels)) + len(labels) * rank()
        alike = own[:, None] == torch.arange(len(gather(labels)))
        return objective(z1, z2, positives=(labels[:, None] == gather(labels)) | alike, **settings)

    return of_labels


def labelled_pair(n: int, generator: torch.Generator) -> Inputs:
    return {**small_views(n, generator), "labels": labelled(n, generator)["labels"]}


def of_few(objective: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Of fewer neighbours than by default: the tests' batches are small."""

    def of_k(z: Tensor, labels: Tensor, k: int = 5, temperature: float = 0.1) -> Tensor:
        return objective(z, labels, k, temperature)

    return of_k


def crops(n: int, generator: torch.Generator) -> Inputs:
    return {
        "student": torch.randn(5, n, 10, generator=generator, dtype=torch.float64) * 0.3,
        "teacher": torch.randn(2, n, 10, generator=generator, dtype=torch.float64) * 0.1,
        "center": torch.randn(10, generator=generator, dtype=torch.float64) * 0.05,
    }


def scores(n: int, generator: torch.Generator) -> Inputs:
    student = torch.randn(5, n, 10, generator=generator, dtype=torch.float64) * 0.1
    queue = torch.randn(2, 5, 10, generator=generator, dtype=torch.float64) * 0.1
    return {"student": student, "teacher": student[:2], "queue": queue}


def patches(n: int, generator: torch.Generator) -> Inputs:
    """The first quarter of the samples hides none of its five patches, the others one, two and three."""
    return {
        "prediction": torch.randn(n, 5, 6, generator=generator, dtype=torch.float64),
        "target": torch.rand(n, 5, 6, generator=generator, dtype=torch.float64),
        "mask": torch.arange(5) < (torch.arange(n) * 4 // n)[:, None],
    }


def tokens(n: int, generator: torch.Generator) -> Inputs:
    return {
        "prediction": torch.randn(n, 3, 6, generator=generator, dtype=torch.float64),
        "target": torch.randn(n, 3, 6, generator=generator, dtype=torch.float64) * 2 + 1,
    }


def _each(change: Callable[[Tensor], Tensor]) -> Callable[[Inputs], Inputs]:
    """The same change of all floating arguments."""
    return lambda inputs: {k: change(x) if x.is_floating_point() else x for k, x in inputs.items()}


def _exchange(inputs: Inputs) -> Inputs:
    return {"z1": inputs["z2"], "z2": inputs["z1"]}


def _lengths(z: Tensor) -> Tensor:
    return z * torch.linspace(0.1, 9, len(z), dtype=z.dtype)[:, None]


def _permute_patches(inputs: Inputs) -> Inputs:
    return {name: x[:, [2, 0, 4, 1, 3]] for name, x in inputs.items()}


def _equal(*names: str, samples: int = 12, width: int = 6) -> Inputs:
    return {name: torch.full((samples, width), 0.3, dtype=torch.float64) for name in names}


def _known(samples: int, smoothing: float) -> Inputs:
    """Logits of each sample's smoothed label."""
    others = torch.full((samples, samples), smoothing / samples, dtype=torch.float64)
    label = others + (1 - smoothing) * torch.eye(samples)
    return {"logits": label.log(), "index": torch.arange(samples)}


def _white(samples: int, width: int) -> Tensor:
    """Columns of mean zero and unbiased variance one that do not correlate."""
    z = wave(0.4, samples, width)
    return torch.linalg.qr(z - z.mean(0))[0] * (samples - 1) ** 0.5


def _flat(views: int) -> Tensor:
    return torch.full((views, 12, 10), 0.7, dtype=torch.float64)


def _dino(center: Tensor, value: float, norm: float, first: float) -> Golden:
    student = 3 * torch.stack([wave(s, 12, 10) for s in (0.2, 1.1, 2.7)])
    return Golden({"student": student, "teacher": TEACHER, "center": center}, value, norm, first, view=0)


def _swav(value: float, norm: float, first: float) -> Golden:
    """Scores of three views: two alike, which are assigned, and one that is not."""
    prototypes = normalize(wave(0.7, 10, 6))
    scores = torch.stack([normalize(z) @ prototypes.T for z in (Z1, Z2, wave(4, 12, 6))])
    return Golden({"student": scores, "teacher": scores[:2]}, value, norm, first, view=2)


def _both_directions(value: float, norm: float, first: float) -> Golden:
    """Of the mean of both directions, and of the first one's predictions."""
    inputs = {"prediction": torch.cat([P1, P2]), "target": torch.cat([Z2, Z1])}
    return Golden(inputs, value, norm, first, view=slice(12))


def _mae(normalize: bool, value: float, norm: float, first: float) -> Golden:
    i, j = torch.arange(4)[:, None], torch.arange(5)
    mask = ((3 * i + 2 * j) % 3 == 0) & (i != 3)
    inputs = {"prediction": wave(0.6, 4, 5, 12), "target": 0.5 + 0.3 * wave(2.2, 4, 5, 12), "mask": mask}
    return Golden(inputs, value, norm, first, {"normalize": normalize})


def _image(shift: float) -> tuple[Tensor, Tensor]:
    """Two images of 8 px: sin(.9 i + 1.7 j + .31 i j + 2.3 b + 1.1 c + shift)."""
    channels = torch.stack([wave(shift + 1.1 * c, 2, 8, 8) for c in range(3)], dim=1)
    mask = torch.tensor([[False, True, True, False], [True, False, True, True]])
    return patchify(channels, 4), mask


def _pixels(published: float, norm: float, hidden: int, added: float, **settings: Any) -> Golden:
    """Of an image and its reconstruction, where the published code adds a little to what it divides by."""
    (target, mask), (prediction, _) = _image(0.2), _image(1.9)
    inputs = {"prediction": prediction, "target": target, "mask": mask}
    scale = (hidden + added) / hidden
    return Golden(inputs, published * scale, norm * scale, 0.0, settings)


def hidden_patches(n: int, generator: torch.Generator) -> Inputs:
    """Of n images, one hidden patch each."""
    student, teacher = torch.randn(2, n, 10, generator=generator, dtype=torch.float64)
    weight = torch.rand(n, generator=generator, dtype=torch.float64) / n
    center = torch.randn(10, generator=generator, dtype=torch.float64) / 5
    return {"student": student, "teacher": teacher / 5, "weight": weight, "center": center}


def _ibot() -> Golden:
    """Four images of five patches, of which the last hides none."""
    i, j = torch.arange(4)[:, None], torch.arange(5)
    mask = ((3 * i + 2 * j) % 3 == 0) & (i != 3)
    share = (1 / (4 * mask.sum(1, keepdim=True).clamp(min=1).double())).expand(4, 5)
    inputs = {
        "student": 2 * wave(0.3, 4, 5, 10)[mask],
        "teacher": 2 * wave(1.4, 4, 5, 10)[mask],
        "weight": share[mask],
        "center": torch.zeros(10, dtype=torch.float64),
    }
    return Golden(inputs, 8.868178375, 3.765810475, -1.129289091)


def _sla() -> Inputs:
    """Five images of three classes in four turns each, which are behind one another: logits (20, 12)."""
    logits = 2 * torch.stack([wave(0.3 * b, 4, 12) for b in range(5)]).flatten(0, 1)
    labels = torch.tensor([0, 1, 2, 0, 1]).repeat_interleave(4)
    return {"logits": logits, "labels": labels, "transform": torch.arange(4).repeat(5)}


def sla_together() -> Tensor:
    """What the four turns of each of the five images say together, (5, 3)."""
    inputs = {name: x.unflatten(0, (5, 4)).transpose(0, 1) for name, x in _sla().items()}
    return sla_aggregate(inputs["logits"], inputs["transform"], 4)


def assigned(n: int, generator: torch.Generator) -> Inputs:
    logits, assignments = torch.randn(2, n, 3, 5, generator=generator, dtype=torch.float64)
    return {"logits": logits, "assignments": assignments.softmax(-1)}


def _capi() -> Golden:
    """Six images of four patches and five clusters, balanced at each position."""
    teacher = torch.stack([2 * wave(0.3 + b, 4, 5) for b in range(6)]) / 0.06
    q = (teacher - teacher.amax(0)).exp()
    for _ in range(3):  # `sinkhorn` but for the 1e-8 of the published code
        q = q / (q.sum(0, keepdim=True) + 1e-8)
        q = q / (q.sum(2, keepdim=True) + 1e-8)
    logits = torch.stack([2 * wave(1.1 + 0.5 * b, 4, 5) for b in range(6)])
    return Golden({"logits": logits, "assignments": q}, 6.706168445, 1.732561560, 0.049440871)


def _data2vec() -> Golden:
    layers = torch.stack(
        [(1 + k) * torch.stack([wave(0.3 * k + 0.5 + b, 5, 8) for b in range(2)]) for k in range(3)]
    )
    prediction = torch.stack([wave(2.1 + b, 5, 8) for b in range(2)])
    mask = torch.tensor([[True, False, True, True, False], [False, True, True, False, True]])
    inputs = {"prediction": prediction[mask], "target": data2vec_targets(layers)[mask]}
    return Golden(inputs, 3.023842911, 0.844231372, 0.021970672)


def _lightly(name: str, **settings: Any) -> Callable[[Inputs], Tensor]:
    """A loss of lightly, imported where it is called: processes that compare nothing start sooner."""

    def peer(inputs: Inputs) -> Tensor:
        import lightly.loss

        return getattr(lightly.loss, name)(**settings)(*inputs.values())

    return peer


def _lightly_mmcr(inputs: Inputs) -> Tensor:
    """Which does not make the rows of length 1."""
    views = normalize(inputs["z"], dim=2).transpose(0, 1)
    return _lightly("MMCRLoss", lmda=0.0)({"online": views[:, :2], "momentum": views[:, 2:]})


def _lightly_tico(inputs: Inputs) -> Tensor:
    from lightly.loss import TiCoLoss

    loss = TiCoLoss()
    loss.C = inputs["moment"]
    return loss(inputs["z1"], inputs["z2"])


def _lightly_moco(inputs: Inputs) -> Tensor:
    from lightly.loss import NTXentLoss

    loss = NTXentLoss(temperature=0.2, memory_bank_size=(20, 6))
    loss.memory_bank.bank = normalize(inputs["queue"])
    return loss(inputs["query"], inputs["key"])


def _lightly_dino(inputs: Inputs) -> Tensor:
    from lightly.loss import DINOLoss

    loss = DINOLoss(output_dim=10)
    loss.center = inputs["center"].reshape(1, 1, -1).clone()
    return loss(list(inputs["teacher"]), list(inputs["student"]), teacher_temp=0.04)


def _lightly_swav(inputs: Inputs) -> Tensor:
    """Of a student that is its own teacher, as lightly has it."""
    from lightly.loss import SwaVLoss

    scores = inputs["student"]
    return SwaVLoss()(list(scores[:2]), list(scores[2:]), list(inputs["queue"]))


def _lightly_msn(inputs: Inputs) -> Tensor:
    from lightly.loss import MSNLoss

    return MSNLoss()(inputs["anchors"].flatten(0, 1), inputs["target"], inputs["prototypes"])


def _lightly_lejepa(inputs: Inputs) -> Tensor:
    from lightly.loss import lejepa_loss

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return lejepa_loss.LeJEPALoss()(global_proj=inputs["z"][:2], local_proj=inputs["z"][2:])


def _lightly_sigreg(inputs: Inputs) -> Tensor:
    from lightly.loss.lejepa_loss import SIGReg

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SIGReg()(inputs["z"])


PAIR: dict[str, Any] = {"learned": ("z1", "z2"), "sample_axis": {"z1": 0, "z2": 0}}
PREDICTED: dict[str, Any] = {"learned": ("prediction",), "sample_axis": {"prediction": 0, "target": 0}}
PREDICTED_SYMMETRIES: dict[str, Callable[[Inputs], Inputs]] = {
    "rows rescaled": _each(_lengths),
    "rotated": _each(lambda z: z @ ROTATION),
    "views exchanged": lambda inputs: {"prediction": inputs["target"], "target": inputs["prediction"]},
}
SINGLE: dict[str, Any] = {"learned": ("z",), "sample_axis": {"z": 0}}
VIEWS: dict[str, Any] = {"learned": ("z",), "sample_axis": {"z": 1}}

OBJECTIVES = {
    "nt_xent": Declaration(
        nt_xent,
        references.nt_xent_reference,
        two_views,
        **PAIR,
        settings=({}, {"temperature": 0.5}, {"temperature": 0.01}),
        trivial={"equal rows": Trivial(_equal("z1", "z2"), floors.nt_xent(12))},
        symmetries={
            "views exchanged": _exchange,
            "rows rescaled": _each(_lengths),
            "rotated": _each(lambda z: z @ ROTATION),
        },
        golden=(
            Golden({"z1": Z1, "z2": Z2}, 1.699845429, 0.197588763, -0.022219004, {"temperature": 0.5}),
            Golden({"z1": Z1, "z2": Z2}, 0.660201294, 1.116709274, -0.033651573, {"temperature": 0.1}),
        ),
        peer=_lightly("NTXentLoss", temperature=0.1),
        fewest=2,
    ),
    "dcl": Declaration(
        dcl,
        references.dcl_reference,
        two_views,
        **PAIR,
        settings=({}, {"temperature": 0.5}, {"temperature": 0.01}, {"sigma": 0.5}),
        trivial={
            "equal rows": Trivial(_equal("z1", "z2"), floors.dcl(12)),
            "equal rows, weighted": Trivial(_equal("z1", "z2"), floors.dcl(12), settings={"sigma": 0.5}),
            "orthonormal pairs": Trivial(
                {"z1": torch.eye(12).double(), "z2": torch.eye(12).double()}, math.log(22) - 1 / 0.1
            ),
        },
        symmetries={
            "views exchanged": _exchange,
            "rows rescaled": _each(_lengths),
            "rotated": _each(lambda z: z @ ROTATION),
        },
        golden=(
            Golden({"z1": Z1, "z2": Z2}, -0.511242943, 1.741355580, -0.093040418, {"temperature": 0.1}),
            Golden({"z1": Z1, "z2": Z2}, 1.494492126, 0.231323787, -0.026744098, {"temperature": 0.5}),
            Golden({"z1": Z1, "z2": Z2}, -0.429865815, 1.923757284, -0.095947846, {"sigma": 0.5}),
        ),
        peer=_lightly("DCLLoss", temperature=0.1),
        fewest=2,
    ),
    "moco": Declaration(
        moco,
        references.moco_reference,
        queued,
        learned=("query",),
        sample_axis={"query": 0, "key": 0},
        settings=({}, {"temperature": 0.5}, {"temperature": 0.01}),
        trivial={
            "equal rows": Trivial({**_equal("query", "key"), **_equal("queue", samples=20)}, floors.moco(20)),
            "a queue that is orthogonal": Trivial(
                {"query": Z1 @ FLAT, "key": Z1 @ FLAT, "queue": QUEUE @ (torch.eye(6) - FLAT)},
                math.log1p(20 * math.exp(-1 / 0.2)),
            ),
        },
        symmetries={
            "rows rescaled": _each(_lengths),
            "rotated": _each(lambda z: z @ ROTATION),
            "queue permuted": lambda inputs: {**inputs, "queue": inputs["queue"].flip(0)},
        },
        golden=(Golden({"query": Z1, "key": Z2, "queue": QUEUE}, 0.865397538, 0.450514251, -0.021043656),),
        peer=_lightly_moco,
    ),
    "ressl": Declaration(
        ressl,
        references.ressl_reference,
        queued,
        learned=("query",),
        sample_axis={"query": 0, "key": 0},
        settings=({}, {"student_temperature": 0.5}, {"teacher_temperature": 0.01}),
        trivial={
            "equal rows": Trivial(
                {**_equal("query", "key"), **_equal("queue", samples=20)}, floors.ressl(20)
            ),
            "the same relations, at one temperature: the entropy": Trivial(
                {"query": 2 * Z1, "key": Z1, "queue": QUEUE},
                float(torch.special.entr((normalize(Z1) @ QUEUE.T / 0.3).softmax(1)).sum(1).mean()),
                settings={"student_temperature": 0.3, "teacher_temperature": 0.3},
            ),
        },
        symmetries={
            "rows rescaled": _each(_lengths),
            "rotated": _each(lambda z: z @ ROTATION),
            "queue permuted": lambda inputs: {**inputs, "queue": inputs["queue"].flip(0)},
        },
        golden=(Golden({"query": Z1, "key": Z2, "queue": QUEUE}, 1.843743240, 1.655592943, -0.091541338),),
    ),
    "moco_v3": Declaration(
        moco_v3,
        references.moco_v3_reference,
        asked,
        learned=("query",),
        sample_axis={"query": 0, "key": 0},
        settings=({}, {"temperature": 0.5}, {"temperature": 0.01}),
        trivial={
            "equal rows": Trivial(_equal("query", "key"), floors.moco_v3(12)),
            "orthonormal pairs": Trivial(
                {"query": torch.eye(12).double(), "key": 3 * torch.eye(12).double()},
                0.4 * math.log1p(11 * math.exp(-1 / 0.2)),
            ),
        },
        symmetries={"rows rescaled": _each(_lengths), "rotated": _each(lambda z: z @ ROTATION)},
        # Of the first direction: the published value of both, less that of the other.
        golden=(
            Golden(
                {"query": Z1, "key": Z2},
                1.084098851 - float(references.moco_v3_reference(P1, P2)),
                0.139136317,
                -0.011561502,
            ),
        ),
        fewest=2,
    ),
    "nnclr": Declaration(
        nnclr,
        references.nnclr_reference,
        neighbouring,
        learned=("prediction",),
        sample_axis={"prediction": 0, "projection": 0},
        settings=({}, {"temperature": 0.5}, {"temperature": 0.01}),
        trivial={
            "equal predictions": Trivial(
                {**_equal("prediction"), "projection": Z1, "queue": QUEUE}, floors.nnclr(12)
            ),
            "own earlier embeddings": Trivial(
                {
                    "prediction": torch.eye(12).double(),
                    "projection": 2 * torch.eye(12).double() + 0.1,
                    "queue": torch.eye(12).double().flip(0),
                },
                math.log1p(11 * math.exp(-1 / 0.1)),
            ),
        },
        symmetries={
            "rows rescaled": _each(_lengths),
            "rotated": _each(lambda z: z @ ROTATION),
            "queue permuted": lambda inputs: {**inputs, "queue": inputs["queue"].flip(0)},
        },
        # Of the first direction: the published gradient is that of the mean of both.
        golden=(
            Golden(
                {"prediction": P2, "projection": Z1, "queue": QUEUE},
                2 * 10.894664328 - float(references.nnclr_reference(P1, Z2, QUEUE)),
                2 * 0.909616501,
                2 * -0.106944472,
            ),
        ),
        fewest=2,
    ),
    "barlow_twins": Declaration(
        barlow_twins,
        references.barlow_twins_reference,
        two_views,
        **PAIR,
        settings=({}, {"lambda_": 0.5}),
        trivial={"equal rows": Trivial(_equal("z1", "z2"), floors.barlow_twins(6))},
        symmetries={
            "views exchanged": _exchange,
            "signs of dimensions": _each(lambda z: z * torch.tensor([1, -1, 1, 1, -1, -1])),
            "dimensions permuted": _each(lambda z: z[:, ORDER]),
            "moved": lambda inputs: {"z1": inputs["z1"] + 3, "z2": inputs["z2"] - 1},
        },
        golden=(Golden({"z1": Z1, "z2": Z2}, 0.053567770, 0.065867458, -0.014294734),),
        peer=_lightly("BarlowTwinsLoss", lambda_param=0.0051),
        fewest=2,
    ),
    "mixed_barlow": Declaration(
        mixed_barlow,
        references.mixed_barlow_reference,
        mixtures,
        learned=("z1", "z2", "partner", "mixed"),
        sample_axis=dict.fromkeys(("z1", "z2", "partner", "mixed", "share"), 0),
        settings=({}, {"eps": 0.1}),
        trivial={
            "equal rows": Trivial(
                {**_equal("z1", "z2", "partner", "mixed"), "share": wave(0, 12, 1)[:, 0] ** 2},
                floors.mixed_barlow(),
            ),
            "nothing mixed in": Trivial(
                {"z1": Z1, "z2": Z2, "partner": P1, "mixed": Z1, "share": torch.ones(12).double()}, 0
            ),
            "the partner alone": Trivial(
                {"z1": Z1, "z2": Z2, "partner": P1, "mixed": P1, "share": torch.zeros(12).double()}, 0
            ),
        },
        symmetries={
            "signs of dimensions": _each(
                lambda z: z * torch.tensor([1, -1, 1, 1, -1, -1]) if z.ndim == 2 else z
            ),
            "dimensions permuted": _each(lambda z: z[:, ORDER] if z.ndim == 2 else z),
            "moved": lambda inputs: {**inputs, "z1": inputs["z1"] + 3, "mixed": inputs["mixed"] - 1},
        },
        # The published code divides by the unbiased deviation, without eps.
        golden=(
            Golden(
                {
                    "z1": Z1,
                    "z2": Z2,
                    "partner": Z2[(5 * torch.arange(12) + 3) % 12],
                    "mixed": P1,
                    "share": torch.full((12,), 0.3, dtype=torch.float64),
                },
                32.033651911 * (12 / 11) ** 2,
                4.516344401 * (12 / 11) ** 2,
                0.059936568 * (12 / 11) ** 2,
                {"eps": 0.0},
            ),
        ),
        fewest=2,
    ),
    "vicreg": Declaration(
        vicreg,
        references.vicreg_reference,
        small_views,
        **PAIR,
        settings=({}, {"invariance": 3.0, "variance": 0.5, "covariance": 7.0}),
        trivial={
            "equal rows": Trivial(_equal("z1", "z2"), floors.vicreg()),
            "equal white views": Trivial({"z1": _white(12, 6), "z2": _white(12, 6)}, 0),
        },
        symmetries={
            "views exchanged": _exchange,
            "moved together": _each(lambda z: z + torch.linspace(-2, 2, 6, dtype=z.dtype)),
            "signs of dimensions": _each(lambda z: z * torch.tensor([1, -1, 1, 1, -1, -1])),
            "dimensions permuted": _each(lambda z: z[:, ORDER]),
        },
        golden=(Golden({"z1": Z1, "z2": Z2}, 9.300743190, 1.829005509, -0.256748000),),
        peer=_lightly("VICRegLoss"),
        fewest=2,
    ),
    "tico": Declaration(
        tico,
        references.tico_reference,
        covarying,
        learned=("z1",),
        sample_axis={"z1": 0, "z2": 0},
        settings=({}, {"rho": 20.0}, {"beta": 0.3}, {"rho": 0.0, "beta": 1.0}),
        trivial={
            "equal rows, as earlier ones": Trivial(
                {**_equal("z1", "z2"), "moment": torch.ones(6, 6).double() / 6}, floors.tico()
            ),
            "spread evenly, without earlier ones": Trivial(
                {"z1": ROTATION, "z2": 3 * ROTATION, "moment": torch.zeros(6, 6).double()},
                floors.tico_least(6, 6),
            ),
        },
        symmetries={
            "rows rescaled": lambda inputs: {
                "z1": _lengths(inputs["z1"]),
                "z2": inputs["z2"] * 3,
                "moment": inputs["moment"],
            },
            "rotated": lambda inputs: {
                "z1": inputs["z1"] @ ROTATION,
                "z2": inputs["z2"] @ ROTATION,
                "moment": ROTATION.T @ inputs["moment"] @ ROTATION,
            },
        },
        golden=(
            Golden(
                {"z1": Z1, "z2": Z2, "moment": torch.zeros(6, 6).double()},
                0.588275994,
                0.107055453,
                -0.022797908,
                {"rho": 20.0},
            ),
        ),
        peer=_lightly_tico,
    ),
    "frossl": Declaration(
        frossl,
        references.frossl_reference,
        views,
        **VIEWS,
        settings=({}, {"weight": 1.4}, {"weight": 0.0}),
        trivial={
            "equal rows": Trivial({"z": torch.full((3, 12, 6), 0.3).double()}, floors.frossl()),
            "orthogonal dimensions": Trivial(
                {"z": torch.stack([_white(12, 6)] * 3)}, floors.frossl_least(3, 12, 6)
            ),
            "orthogonal samples": Trivial(
                {"z": torch.eye(6).double().repeat(2, 1, 5)}, floors.frossl_least(2, 6, 30)
            ),
        },
        symmetries={
            "views permuted": _each(lambda z: z[[2, 0, 3, 1]]),
            "dimensions rescaled": _each(lambda z: z * torch.linspace(0.1, 9, 6, dtype=z.dtype)),
            "dimensions permuted": _each(lambda z: z[..., ORDER]),
            "signs of samples": _each(lambda z: z * (1 - 2 * (torch.arange(z.shape[1]) % 2))[:, None]),
        },
        golden=(
            Golden({"z": THREE[:2]}, -2.748052983, 0.165523421, -0.052368169, view=0),
            Golden({"z": THREE}, -4.067937511, 0.210684591, -0.066915562, {"weight": 1.4}, view=0),
        ),
        peer=lambda inputs: _lightly("FroSSLLoss")({"z": list(inputs["z"])}),
        fewest=2,
    ),
    "mmcr": Declaration(
        mmcr,
        references.mmcr_reference,
        views,
        **VIEWS,
        settings=({}, {"lambda_": 0.005}, {"lambda_": 2.0}),
        trivial={
            "equal rows": Trivial({"z": torch.full((3, 12, 6), 0.3).double()}, floors.mmcr(3, 12)),
            "equal rows, weighed": Trivial(
                {"z": torch.full((3, 12, 6), 0.3).double()},
                floors.mmcr(3, 12, 0.5),
                settings={"lambda_": 0.5},
            ),
            "orthogonal, twice": Trivial(
                {"z": ROTATION.repeat(3, 2, 1)}, floors.mmcr_least(3, 12, 6, 0.5), settings={"lambda_": 0.5}
            ),
        },
        symmetries={
            "views permuted": _each(lambda z: z[[2, 0, 3, 1]]),
            "rows rescaled": _each(lambda z: z * torch.linspace(0.1, 9, 12, dtype=z.dtype)[:, None]),
            "rotated": _each(lambda z: z @ ROTATION),
            "signs of samples": _each(lambda z: z * (1 - 2 * (torch.arange(z.shape[1]) % 2))[:, None]),
        },
        golden=(Golden({"z": THREE}, -7.431185140, 0.258407239, -0.041873988, view=0),),
        peer=_lightly_mmcr,
        fewest=2,
    ),
    "byol": Declaration(
        byol,
        references.byol_reference,
        predicted,
        **PREDICTED,
        settings=({},),
        trivial={
            "equal rows": Trivial(_equal("prediction", "target"), floors.byol()),
            "opposite rows": Trivial({"prediction": P1, "target": -P1}, 4),
        },
        symmetries=PREDICTED_SYMMETRIES,
        # The published loss is the sum of both directions.
        golden=(_both_directions(5.484831504 / 2, 0.106852835 / 2, 0.012316624 / 2),),
        peer=lambda inputs: 2 + 2 * _lightly("NegativeCosineSimilarity")(inputs),
    ),
    "simsiam": Declaration(
        simsiam,
        references.simsiam_reference,
        predicted,
        **PREDICTED,
        settings=({},),
        trivial={
            "equal rows": Trivial(_equal("prediction", "target"), floors.simsiam()),
            "opposite rows": Trivial({"prediction": P1, "target": -P1}, 1),
        },
        symmetries=PREDICTED_SYMMETRIES,
        golden=(_both_directions(0.371207876, 0.026713209, 0.003079156),),
        peer=_lightly("NegativeCosineSimilarity"),
    ),
    "koleo": Declaration(
        koleo,
        references.koleo_reference,
        one_view,
        **SINGLE,
        settings=({},),
        trivial={
            "equal rows": Trivial(_equal("z"), floors.koleo(6)),
            "an opposite pair": Trivial({"z": torch.stack([Z1[0], -Z1[0]])}, floors.koleo_least(), 1e-7),
        },
        symmetries={"rows rescaled": _each(_lengths), "rotated": _each(lambda z: z @ ROTATION)},
        golden=(Golden({"z": Z1}, 0.608006795, 0.719119512, 0.070815019),),
        peer=_lightly("KoLeoLoss"),
        fewest=2,
    ),
    "sigreg": Declaration(
        sigreg,
        references.sigreg_reference,
        one_view,
        **SINGLE,
        settings=({}, {"slices": 5, "knots": 4, "t_max": 5.0, "seed": 3}),
        trivial={"zeros": Trivial({"z": torch.zeros(12, 6).double()}, floors.sigreg_collapsed(12))},
        symmetries={"mirrored": _each(lambda z: -z)},
        peer=_lightly_sigreg,
        fewest=2,
    ),
    "lejepa": Declaration(
        lejepa,
        references.lejepa_reference,
        views,
        learned=("z",),
        sample_axis={"z": 1},
        settings=({}, {"large": 3, "lambda_": 0.4, "slices": 5, "seed": 3}),
        trivial={"zeros": Trivial({"z": torch.zeros(4, 12, 6).double()}, floors.lejepa(12))},
        symmetries={
            "mirrored": _each(lambda z: -z),
            "large views exchanged, small ones too": _each(lambda z: z[[1, 0, 3, 2]]),
        },
        peer=_lightly_lejepa,
        fewest=2,
    ),
    "diet": Declaration(
        diet,
        references.diet_reference,
        named,
        learned=("logits",),
        sample_axis={"logits": 0, "index": 0},
        settings=({}, {"smoothing": 0.1}, {"smoothing": 0.0}),
        trivial={
            "equal logits": Trivial({**named(12, torch.Generator()), "logits": _flat(1)[0]}, floors.diet(10)),
            "known": Trivial(_known(10, 0.8), floors.diet_least(10)),
            "known, labels of .3": Trivial(
                _known(10, 0.3), floors.diet_least(10, 0.3), settings={"smoothing": 0.3}
            ),
        },
        symmetries={
            "a view's logits moved": lambda inputs: {
                **inputs,
                "logits": inputs["logits"] + wave(1, 12, 1),
            },
            "samples renamed": lambda inputs: {
                "logits": inputs["logits"].roll(3, 1),
                "index": (inputs["index"] + 3) % 10,
            },
        },
        golden=(
            Golden(
                {"logits": 3 * wave(0.2, 12, 10), "index": torch.arange(12) % 10},
                3.717283995,
                0.129691792,
                -0.020474877,
            ),
        ),
    ),
    "dino": Declaration(
        dino,
        references.dino_reference,
        crops,
        learned=("student",),
        sample_axis={"student": 1, "teacher": 1},
        settings=({}, {"student_temperature": 0.2, "teacher_temperature": 0.07}),
        trivial={
            "equal logits": Trivial(
                {"student": _flat(5), "teacher": _flat(2), "center": _flat(1)[0, 0]}, floors.dino(10)
            )
        },
        symmetries={
            "a sample's logits moved": lambda inputs: {
                **inputs,
                "student": inputs["student"] + wave(1, 5, 12, 1),
            },
            "teacher and centre moved": lambda inputs: {
                "student": inputs["student"],
                **{name: inputs[name] + wave(1, 1, 10)[0] for name in ("teacher", "center")},
            },
            "prototypes permuted": _each(lambda x: x[..., [9, 3, 1, 0, 2, 8, 7, 4, 5, 6]]),
            "global views exchanged, local ones permuted": lambda inputs: {
                **inputs,
                "student": inputs["student"][[1, 0, 4, 2, 3]],
                "teacher": inputs["teacher"].flip(0),
            },
        },
        golden=(
            _dino(torch.zeros(10, dtype=torch.float64), 22.722770721, 0.895107535, -0.208329296),
            _dino(0.1 * TEACHER.mean((0, 1)), 22.710949652, 0.895307703, -0.208328652),
        ),
        peer=_lightly_dino,
    ),
    "swav": Declaration(
        swav,
        references.swav_reference,
        scores,
        learned=("student",),
        sample_axis={"student": 1, "teacher": 1},
        settings=({}, {"student_temperature": 0.2, "teacher_temperature": 0.02, "rounds": 5}),
        trivial={
            "equal scores": Trivial({"student": _flat(5), "teacher": _flat(2)}, floors.dino(10)),
        },
        symmetries={
            "a sample's student moved": lambda inputs: {
                **inputs,
                "student": inputs["student"] + wave(1, 5, 12, 1),
            },
            "a prototype's teacher moved": lambda inputs: {
                "student": inputs["student"],
                **{name: inputs[name] + 0.2 * wave(1, 2, 1, 10) for name in ("teacher", "queue")},
            },
            "prototypes permuted": _each(lambda x: x[..., [9, 3, 1, 0, 2, 8, 7, 4, 5, 6]]),
            "global views exchanged, local ones permuted": lambda inputs: {
                "student": inputs["student"][[1, 0, 4, 2, 3]],
                **{name: inputs[name].flip(0) for name in ("teacher", "queue")},
            },
            "queue permuted": lambda inputs: {**inputs, "queue": inputs["queue"].flip(1)},
        },
        golden=(_swav(7.858430042, 1.513980598, -0.340688467),),
        peer=_lightly_swav,
    ),
    "msn": Declaration(
        msn,
        references.msn_reference,
        anchored,
        learned=("anchors",),
        sample_axis={"anchors": 1, "target": 0},
        settings=(
            {},
            {"temperature": 0.3, "sharpening": 0.5, "balancing": 5, "regularization": 0.2},
            {"balancing": 0, "regularization": 0.0},
        ),
        trivial={
            "equal rows": Trivial(
                {
                    "anchors": torch.ones(2, 12, 6).double(),
                    **{name: torch.ones(12, 6).double() for name in ("target", "prototypes")},
                },
                floors.msn(12),
            ),
            "one prototype": Trivial(
                {
                    "anchors": torch.eye(6).double()[:1].repeat(2, 12, 1),
                    "target": torch.eye(6).double()[:1].repeat(12, 1),
                    "prototypes": torch.eye(6).double(),
                },
                floors.msn(6),
                within=1e-6,
                settings={"temperature": 0.01, "balancing": 0},
            ),
        },
        symmetries={
            "lengths": lambda inputs: {
                name: z * (1 + wave(1, len(z), z.shape[-2], 1)[0] ** 2) for name, z in inputs.items()
            },
            "rotated": _each(lambda z: z @ ROTATION),
            "anchors exchanged": lambda inputs: {**inputs, "anchors": inputs["anchors"].flip(0)},
            "prototypes permuted": lambda inputs: {**inputs, "prototypes": inputs["prototypes"].flip(0)},
        },
        golden=(
            Golden(
                {"anchors": torch.stack([Z1, wave(4, 12, 6)]), "target": Z2, "prototypes": wave(0.7, 10, 6)},
                7.938095753,
                0.663530371,
                -0.001419271,
                {"regularization": 0.0},
            ),
        ),
        peer=_lightly_msn,
    ),
    "relational": Declaration(
        relational,
        references.relational_reference,
        related,
        learned=("alike", "unlike"),
        sample_axis={"alike": 1, "unlike": 1},
        settings=({}, {"gamma": 0.0, "alpha": 1.0}, {"gamma": 1.5}),
        trivial={
            "nothing told": Trivial(
                {name: torch.zeros(3, 12).double() for name in ("alike", "unlike")}, floors.relational()
            ),
            "nothing told, cross-entropy": Trivial(
                {name: torch.zeros(3, 12).double() for name in ("alike", "unlike")},
                floors.relational(0, 1),
                settings={"gamma": 0.0, "alpha": 1.0},
            ),
        },
        symmetries={
            "exchanged, the other way round": lambda inputs: {
                "alike": -inputs["unlike"],
                "unlike": -inputs["alike"],
            },
            "pairs permuted": _each(lambda scores: scores.flip(0)),
        },
    ),
    "sla_joint": Declaration(
        partial(sla_joint, transforms=3),
        partial(references.sla_joint_reference, transforms=3),
        transformed,
        learned=("logits",),
        sample_axis={"logits": 0, "labels": 0, "transform": 0},
        settings=({},),
        trivial={
            "equal logits": Trivial(
                {**transformed(12, torch.Generator()), "logits": torch.full((12, 15), 0.7).double()},
                math.log(15),
            )
        },
        symmetries={
            "an image's logits moved": lambda inputs: {**inputs, "logits": inputs["logits"] + wave(1, 12, 1)},
            "classes exchanged": lambda inputs: {
                **inputs,
                "logits": inputs["logits"].unflatten(1, (5, 3)).flip(1).flatten(1),
                "labels": 4 - inputs["labels"],
            },
            "transforms exchanged": lambda inputs: {
                **inputs,
                "logits": inputs["logits"].unflatten(1, (5, 3)).flip(2).flatten(1),
                "transform": 2 - inputs["transform"],
            },
        },
        golden=(Golden(_sla(), 3.152303412, 0.223577641, -0.048066522, {"transforms": 4}),),
    ),
    "sla_distill": Declaration(
        sla_distill,
        references.sla_distill_reference,
        aggregated,
        learned=("single",),
        sample_axis={"single": 0, "aggregated": 0, "weight": 0},
        settings=({}, {"temperature": 0.4}, {"temperature": 3.0}),
        trivial={"the same": Trivial({"single": Z1, "aggregated": Z1}, 0.0)},
        symmetries={
            "an image's logits moved": lambda inputs: {**inputs, "single": inputs["single"] + wave(1, 12, 1)},
            "classes exchanged": lambda inputs: {
                **inputs,
                **{name: inputs[name].flip(1) for name in ("single", "aggregated")},
            },
        },
        golden=(
            Golden(
                {"single": wave(1.1, 5, 3), "aggregated": sla_together()},
                0.525548326,
                0.264639617,
                0.073407544,
            ),
        ),
    ),
    "cross_entropy": Declaration(
        cross_entropy,
        references.cross_entropy_reference,
        classified,
        learned=("logits",),
        sample_axis={"logits": 0, "labels": 0},
        settings=({}, {"smoothing": 0.1}),
        trivial={
            "equal logits": Trivial(
                {"logits": torch.full((5, 10), 0.7, dtype=torch.float64), "labels": torch.arange(5)},
                floors.diet(10),
            )
        },
        symmetries={
            "a view's logits moved": lambda inputs: {**inputs, "logits": inputs["logits"] + wave(1, 12, 1)},
            "classes permuted": lambda inputs: {
                "logits": inputs["logits"].flip(1),
                "labels": 9 - inputs["labels"],
            },
        },
    ),
    "view_batch": Declaration(
        view_batch,
        references.view_batch_reference,
        lambda n, generator: {
            "logits": torch.randn(3, n, 10, generator=generator, dtype=torch.float64),
        },
        learned=("logits",),
        sample_axis={"logits": 1},
        settings=({},),
        trivial={"equal logits": Trivial({"logits": _flat(3) + wave(1, 12, 10)}, 0.0)},
        symmetries={
            "a view's logits moved": lambda inputs: {"logits": inputs["logits"] + wave(1, 3, 12, 1)},
            "classes permuted": _each(lambda x: x.flip(2)),
            "other views exchanged": _each(lambda x: x[[0, 2, 1]]),
        },
        golden=(Golden({"logits": CLASSES}, 0.115051906, 0.107954771, -0.019792481),),
    ),
    "barlow_twins of a relation": Declaration(
        of_relation(barlow_twins),
        of_relation(references.barlow_twins_related_reference),
        labelled_pair,
        learned=("z1", "z2"),
        sample_axis={"z1": 0, "z2": 0, "labels": 0},
        settings=({}, {"lambda_": 0.5}),
        trivial={
            "equal rows": Trivial(
                {**_equal("z1", "z2"), "labels": torch.arange(12) % 3}, floors.barlow_twins(6)
            ),
        },
        symmetries={
            "views exchanged": lambda inputs: {**inputs, "z1": inputs["z2"], "z2": inputs["z1"]},
            "classes renamed": lambda inputs: {**inputs, "labels": 7 - inputs["labels"]},
            "moved apart": lambda inputs: {**inputs, "z2": inputs["z2"] + 3},
        },
        fewest=2,
    ),
    "vicreg of a relation": Declaration(
        of_relation(vicreg),
        of_relation(references.vicreg_related_reference),
        labelled_pair,
        learned=("z1", "z2"),
        sample_axis={"z1": 0, "z2": 0, "labels": 0},
        settings=({}, {"invariance": 3.0, "variance": 0.5, "covariance": 7.0}),
        trivial={
            "equal rows": Trivial({**_equal("z1", "z2"), "labels": torch.arange(12) % 3}, floors.vicreg()),
        },
        symmetries={
            "views exchanged": lambda inputs: {**inputs, "z1": inputs["z2"], "z2": inputs["z1"]},
            "classes renamed": lambda inputs: {**inputs, "labels": 7 - inputs["labels"]},
            "moved together": lambda inputs: {**inputs, "z1": inputs["z1"] + 3, "z2": inputs["z2"] + 3},
        },
        fewest=2,
    ),
    "spectral_contrastive": Declaration(
        by_labels(spectral_contrastive, graded=False),
        by_labels(references.spectral_contrastive_reference, graded=False),
        labelled_views,
        learned=("z",),
        sample_axis={"z": 1, "labels": 0},
        settings=({},),
        trivial={
            "zeros": Trivial(
                {"z": torch.zeros(1, 12, 6).double(), "labels": torch.arange(12) % 3},
                floors.spectral_contrastive(1, 4),
            ),
            "classes at right angles": Trivial(
                {"z": 3**0.5 * torch.eye(3).double().repeat(2, 4, 1), "labels": torch.arange(12) % 3}, 0.0
            ),
            "one class of three left out": Trivial(  # by what is lost of the spectrum, 4^2 of 12 rows
                {"z": 2**0.5 * torch.eye(3).double()[:, :2].repeat(1, 4, 1), "labels": torch.arange(12) % 3},
                16 / 12,
            ),
        },
        symmetries={
            "rotated": lambda inputs: {**inputs, "z": inputs["z"] @ ROTATION},
            "views exchanged": lambda inputs: {**inputs, "z": inputs["z"][[2, 0, 3, 1]]},
        },
        golden=(
            Golden(
                {"z": 6**0.5 * Z1[None], "labels": torch.arange(12) % 3},
                285.147227253 / 12,
                193.254824094 / 12 / 6**0.5,
                -11.839720441 / 12 / 6**0.5,
            ),
        ),
    ),
    "triplet": Declaration(
        by_labels(triplet, graded=False),
        by_labels(references.triplet_reference, graded=False),
        labelled_views,
        learned=("z",),
        sample_axis={"z": 1, "labels": 0},
        settings=({}, {"margin": 1.5}, {"negatives": 1}, {"negatives": 1000}),
        trivial={
            "equal rows": Trivial(
                {"z": torch.full((2, 12, 6), 0.3).double(), "labels": torch.arange(12) % 3}, floors.triplet()
            ),
            "classes at right angles": Trivial(
                {"z": torch.eye(3).double().repeat(2, 4, 1), "labels": torch.arange(12) % 3}, 0.0
            ),
            "all of one class": Trivial({"z": THREE, "labels": torch.zeros(12).long()}, 0.0),
        },
        symmetries={
            "rows rescaled": lambda inputs: {**inputs, "z": inputs["z"] * (2 + wave(1, 4, 12, 1))},
            "rotated": lambda inputs: {**inputs, "z": inputs["z"] @ ROTATION},
            "views exchanged": lambda inputs: {**inputs, "z": inputs["z"][[2, 0, 3, 1]]},
        },
    ),
    "sup_con": Declaration(
        by_labels(sup_con),
        by_labels(references.sup_con_reference),
        labelled_views,
        learned=("z",),
        sample_axis={"z": 1, "labels": 0},
        settings=(
            {},
            {"weighted": False},
            {"temperature": 0.5, "base_temperature": 0.07},
            {"temperature": 0.01, "weighted": False},
        ),
        trivial={
            "equal rows": Trivial(
                {"z": torch.full((2, 12, 6), 0.3).double(), "labels": torch.arange(12)}, floors.sup_con(24)
            ),
            "equal rows, another base temperature": Trivial(
                {"z": torch.full((1, 12, 6), 0.3).double(), "labels": torch.arange(12) % 3},
                floors.sup_con(12, 0.1, 0.07),
                settings={"base_temperature": 0.07},
            ),
            "classes at right angles": Trivial(
                {"z": torch.eye(3).double().repeat(2, 4, 1), "labels": torch.arange(12) % 3},
                math.log(7 + 16 * math.exp(-10)),
                settings={"weighted": False},
            ),
            "nobody of one's class": Trivial(
                {"z": Z1[None], "labels": torch.arange(12)}, 0.0, settings={"weighted": False}
            ),
        },
        symmetries={
            "rows rescaled": lambda inputs: {**inputs, "z": inputs["z"] * (2 + wave(1, 4, 12, 1))},
            "rotated": lambda inputs: {**inputs, "z": inputs["z"] @ ROTATION},
            "views exchanged": lambda inputs: {**inputs, "z": inputs["z"][[2, 0, 3, 1]]},
        },
        golden=tuple(
            Golden({"z": z, "labels": torch.arange(12) % 3}, *numbers, {"weighted": False, **kwargs}, view=0)
            for z, numbers, kwargs in (
                (THREE[:2], (8.273761329, 0.914473179, 0.044985374), {}),
                (THREE[:2], (11.819659041, 1.306390256, 0.064264820), {"base_temperature": 0.07}),
                (THREE[:2], (3.222557436, 0.156712200, -0.006491615), {"temperature": 0.5}),
                # Of one view; that of a similarity graph (arXiv:2303.15256) whose classes are of one size.
                (Z1[None], (2.607478165, 0.376620568, -0.015324141), {"temperature": 0.5}),
            )
        ),
        fewest=2,
    ),
    "look": Declaration(
        of_few(look),
        of_few(references.look_reference),
        labelled,
        learned=("z",),
        sample_axis={"z": 0, "labels": 0},
        settings=({}, {"k": 3, "temperature": 0.5}, {"k": 1}, {"k": 6}),
        trivial={
            "classes at right angles": Trivial(
                {"z": torch.eye(3).double().repeat(4, 1), "labels": torch.arange(12) % 3},
                0.0,
                settings={"k": 3},
            ),
            "nobody of one's class": Trivial({"z": Z1, "labels": torch.arange(12)}, 0.0, settings={"k": 3}),
        },
        symmetries={
            "rows rescaled": _each(_lengths),
            "rotated": _each(lambda z: z @ ROTATION),
            "classes renamed": lambda inputs: {**inputs, "labels": 7 - inputs["labels"]},
        },
        golden=tuple(
            Golden({"z": Z1, "labels": torch.arange(12) % 3}, *numbers, {"k": k, "temperature": t})
            for k, t, numbers in (
                (5, 0.5, (1.377229124, 0.617364325, -0.027445475)),
                (8, 0.5, (1.351958519, 0.468072548, -0.015954172)),
                (11, 0.1, (4.791642682, 3.889322235, 0.104913234)),  # published: ...231, by differences
            )
        ),
        fewest=2,
    ),
    "masked_reconstruction": Declaration(
        masked_reconstruction,
        references.masked_reconstruction_reference,
        patches,
        learned=("prediction",),
        sample_axis={"prediction": 0, "target": 0, "mask": 0},
        settings=({}, {"normalize": False}, {"normalize": False, "power": 1.0}),
        trivial={
            "zeros": Trivial(
                {
                    "prediction": torch.zeros(4, 5, 12).double(),
                    "target": wave(2.2, 4, 5, 12),
                    "mask": wave(0, 4, 5) > 0,
                },
                floors.masked_reconstruction(12),
                within=1e-5,
            )
        },
        symmetries={"patches permuted": _permute_patches},
        golden=(
            _mae(True, 1.458248093, 0.284629203, -0.011848619),
            _mae(False, 0.804414813, 0.211399413, -0.004941846),
            # SimMIM counts pixels, SparK patches.
            _pixels(0.952002034, 0.064549714, 80, 1e-5, normalize=False, power=1.0),
            _pixels(1.654293096, 0.166046835, 5, 1e-8),
        ),
    ),
    "ibot": Declaration(
        ibot,
        references.ibot_reference,
        hidden_patches,
        learned=("student",),
        sample_axis={"student": 0, "teacher": 0, "weight": 0},
        settings=(
            {},
            {"student_temperature": 0.2, "teacher_temperature": 0.07},
            {"center": None, "rounds": 2},
        ),
        trivial={
            "equal logits": Trivial(
                {
                    "student": _flat(1)[0],
                    "teacher": _flat(1)[0],
                    "weight": torch.full((12,), 1 / 12, dtype=torch.float64),
                    "center": _flat(1)[0, 0],
                },
                floors.ibot(10),
            )
        },
        symmetries={
            "patches permuted": lambda inputs: {
                **inputs,
                **{name: inputs[name].flip(0) for name in ("student", "teacher", "weight")},
            },
            "a patch's logits moved": lambda inputs: {
                **inputs,
                "student": inputs["student"] + wave(1, 12, 1),
            },
            "teacher and centre moved": lambda inputs: {
                **inputs,
                **{name: inputs[name] + wave(1, 1, 10)[0] for name in ("teacher", "center")},
            },
            "prototypes permuted": lambda inputs: {
                **inputs,
                **{name: inputs[name].flip(-1) for name in ("student", "teacher", "center")},
            },
        },
        golden=(_ibot(),),
    ),
    "capi": Declaration(
        capi,
        references.capi_reference,
        assigned,
        learned=("logits",),
        sample_axis={"logits": 0, "assignments": 0},
        settings=({}, {"temperature": 0.3}),
        trivial={
            "equal logits": Trivial(
                {"logits": _flat(3), "assignments": wave(1, 3, 12, 10).softmax(-1)}, floors.capi(10)
            )
        },
        symmetries={
            "a patch's logits moved": lambda inputs: {
                **inputs,
                "logits": inputs["logits"] + wave(1, *inputs["logits"].shape[:-1], 1),
            },
            "clusters permuted": _each(lambda x: x.flip(-1)),
            "patches permuted": _each(lambda x: x.flip(1)),
        },
        golden=(_capi(),),
    ),
    "matched_cells": Declaration(
        matched_cells,
        references.matched_cells_reference,
        cells,
        learned=("cells1", "cells2"),
        sample_axis={"cells1": 0, "cells2": 0},
        settings=({}, {"temperature": 0.5}),
        trivial={
            "equal rows": Trivial(
                {name: torch.full((12, 4, 6), 0.3).double() for name in ("cells1", "cells2")},
                floors.matched_cells(12, 4),
            ),
            # Of its own image's other cells, which are as near, none repels.
            "cells of one image alike": Trivial(
                {name: torch.eye(12).double()[:, None].expand(12, 4, 12) for name in ("cells1", "cells2")},
                math.log1p(44 * math.exp(-1 / 0.1)),
            ),
        },
        symmetries={
            "rows rescaled": _each(lambda z: z * torch.linspace(0.1, 9, z.shape[1], dtype=z.dtype)[:, None]),
            "rotated": _each(lambda z: z @ ROTATION),
            "views exchanged": lambda inputs: {"cells1": inputs["cells2"], "cells2": inputs["cells1"]},
            "matches permuted": _each(lambda z: z[:, [2, 0, 1]]),
        },
        fewest=2,
    ),
    "distill_relations": Declaration(
        distill_relations,
        references.distill_relations_reference,
        taught,
        learned=("student",),
        sample_axis={"student": 0, "teacher": 0},
        settings=({}, {"temperature": 0.5}, {"temperature": 0.01}),
        trivial={"the same": Trivial({"student": 2 * Z1, "teacher": Z1, "queue": QUEUE}, 0.0)},
        symmetries={
            "rows rescaled": _each(_lengths),
            "rotated": _each(lambda z: z @ ROTATION),
            "queue permuted": lambda inputs: {**inputs, "queue": inputs["queue"].flip(0)},
        },
        golden=(
            Golden({"student": Z1, "teacher": Z2, "queue": QUEUE}, 1.944551018, 2.328070943, -0.035961445),
        ),
    ),
    "distill_tokens": Declaration(
        distill_tokens,
        references.distill_tokens_reference,
        taught_tokens,
        learned=("student",),
        sample_axis={"student": 0, "teacher": 0},
        settings=({}, {"temperature": 0.5}, {"temperature": 0.2}),
        trivial={"the same": Trivial({"student": 2 * TOKENS, "teacher": TOKENS}, 0.0)},
        symmetries={
            "tokens permuted": lambda inputs: {name: x[:, [2, 0, 1]] for name, x in inputs.items()},
            "tokens rescaled": _each(lambda x: 3 * x),
            "width permuted": lambda inputs: {**inputs, "student": inputs["student"][..., ORDER]},
        },
        golden=(
            Golden(
                {
                    "student": TOKENS,
                    "teacher": normalize(OTHER_TOKENS + 0.5 * TOKENS, dim=2),
                },
                0.228767524,
                0.602130463,
                0.000594603,
            ),
        ),
    ),
    "distill_layer": Declaration(
        distill_layer,
        references.distill_layer_reference,
        tokens,
        learned=("prediction",),
        sample_axis={"prediction": 0, "target": 0},
        settings=({},),
        trivial={"the same": Trivial({"prediction": TOKENS, "target": TOKENS}, floors.distill_layer_least())},
        symmetries={
            "tokens permuted": lambda inputs: {name: x[:, [2, 0, 1]] for name, x in inputs.items()},
            "width permuted": _each(lambda x: x[..., ORDER]),
        },
    ),
    "data2vec": Declaration(
        data2vec,
        references.data2vec_reference,
        tokens,
        learned=("prediction",),
        sample_axis={"prediction": 0, "target": 0},
        settings=({},),
        trivial={
            "zeros": Trivial(
                {
                    "prediction": torch.zeros(4, 16, 64).double(),
                    "target": data2vec_targets(wave(0.4, 4, 16, 64)[None]),
                },
                floors.data2vec(64),
                within=1e-3,
            )
        },
        symmetries={
            "tokens permuted": lambda inputs: {name: x[:, [2, 0, 1]] for name, x in inputs.items()},
            "both moved": lambda inputs: {name: x + 3 for name, x in inputs.items()},
            "width permuted": _each(lambda x: x[..., ORDER]),
        },
        golden=(_data2vec(),),
    ),
    "latent_prediction": Declaration(
        latent_prediction,
        references.latent_prediction_reference,
        tokens,
        learned=("prediction",),
        sample_axis={"prediction": 0, "target": 0},
        settings=({},),
        trivial={
            "zeros": Trivial(
                {
                    "prediction": torch.zeros(8, 16, 1024).double(),
                    "target": torch.randn(8, 16, 1024, generator=torch.Generator().manual_seed(0)).double(),
                },
                floors.latent_prediction(),
                within=2e-3,
            )
        },
        symmetries={
            "tokens permuted": lambda inputs: {name: x[:, [2, 0, 1]] for name, x in inputs.items()},
            "target moved": lambda inputs: {**inputs, "target": inputs["target"] - 4},
            "width permuted": _each(lambda x: x[..., ORDER]),
        },
        golden=(
            Golden({"prediction": wave(4, 12, 6), "target": Z2}, 1.068159329, 0.108629055, -0.013888889),
        ),
    ),
}
OBJECTIVES |= {
    f"{name}, of views": of_views(OBJECTIVES[name], objective, reference)
    for name, objective, reference in (
        ("spectral_contrastive", spectral_contrastive, references.spectral_contrastive_reference),
        ("triplet", triplet, references.triplet_reference),
    )
}


def value_and_gradients(
    objective: Callable[..., Tensor],
    inputs: Inputs,
    learned: tuple[str, ...],
    autocast: torch.dtype | None = None,
    **settings: Any,
) -> tuple[Tensor, list[Tensor]]:
    """The objective's value, under autocast to a type if given, and its gradients for what is learned."""
    leaves = {name: inputs[name].detach().clone().requires_grad_() for name in learned}
    with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        value = objective(**{**inputs, **leaves, **settings})
    return value.detach(), list(torch.autograd.grad(value, list(leaves.values())))


def cast(inputs: Inputs, dtype: torch.dtype, scale: float = 1.0) -> Inputs:
    """The floating arguments, multiplied by the scale, in another type."""
    return {name: (x * scale).to(dtype) if x.is_floating_point() else x for name, x in inputs.items()}


def through_a_layer(declaration: Declaration, weight: Tensor, inputs: Inputs) -> Tensor:
    """The objective after a linear layer on what is learned, as a parameter that processes share."""
    learned = {name: inputs[name] @ weight for name in declaration.learned}
    return declaration.objective(**{**inputs, **learned})


def layer_for(name: str, inputs: Inputs) -> Tensor:
    width = inputs[OBJECTIVES[name].learned[0]].shape[-1]
    return torch.eye(width, dtype=torch.float64) + 0.1 * wave(math.pi, width, width)


def inputs_for(name: str, samples: int = 12) -> Inputs:
    return OBJECTIVES[name].draw(samples, torch.Generator().manual_seed(7))


def wide_inputs(name: str) -> Inputs:
    """Twelve samples of 40 dimensions, for objectives whose way depends on which are more."""
    generator = torch.Generator().manual_seed(7)
    mix = torch.randn(6, 40, generator=generator, dtype=torch.float64)
    inputs = inputs_for(name)
    for key in OBJECTIVES[name].learned:
        inputs[key] = inputs[key] @ mix + torch.randn(12, 40, generator=generator, dtype=torch.float64)
    return inputs


def balanced_inputs(name: str) -> Inputs:
    """Twelve samples in four groups of three that differ and yet have the same mean and covariance.

    Each group is the first one turned in the plane of its samples that is orthogonal to their mean. (A mask,
    which cannot be turned, is repeated.)
    """
    thirds = torch.ones(3, 3, dtype=torch.float64) / 3
    across = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64) / 3**0.5
    angles = [0.7 * group for group in range(4)]
    turns = [thirds + math.cos(a) * (torch.eye(3) - thirds) + math.sin(a) * across for a in angles]

    def balanced(key: str, x: Tensor) -> Tensor:
        axis = OBJECTIVES[name].sample_axis.get(key)
        if axis is None:
            return x
        three = x.movedim(axis, 0)[[0, 4, 8]]
        if not x.is_floating_point():
            return three.repeat(4, *[1] * (three.ndim - 1)).movedim(0, axis)
        return torch.cat([torch.tensordot(turn, three, 1) for turn in turns]).movedim(0, axis)

    return {key: balanced(key, x) for key, x in inputs_for(name).items()}


# What the processes are given: the last is of another width, and so only for some objectives.
KINDS = {"uneven": inputs_for, "balanced": balanced_inputs, "wide": wide_inputs}
WIDE = ("barlow_twins", "frossl", "mixed_barlow", "vicreg")
CASES = [(name, kind) for name in OBJECTIVES for kind in KINDS if kind != "wide" or name in WIDE]
