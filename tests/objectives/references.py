"""The objectives as their papers write them: loops over samples and pairs, in float64."""

import math

import torch
from torch import Tensor


def nt_xent_reference(z1: Tensor, z2: Tensor, temperature: float = 0.1) -> Tensor:
    rows = [*z1, *z2]
    n = len(z1)

    def similarity(i: int, k: int) -> Tensor:
        return rows[i] @ rows[k] / (rows[i].norm() * rows[k].norm()) / temperature

    total = torch.zeros((), dtype=z1.dtype)
    for i in range(2 * n):
        others = torch.stack([similarity(i, k) for k in range(2 * n) if k != i])
        total = (
            total
            - similarity(i, (i + n) % (2 * n))
            + others.max()
            + (others - others.max()).exp().sum().log()
        )
    return total / (2 * n)


def dcl_reference(z1: Tensor, z2: Tensor, temperature: float = 0.1, sigma: float | None = None) -> Tensor:
    rows = [row / row.norm() for row in [*z1, *z2]]
    n = len(z1)
    near = [math.exp(float((rows[i] @ rows[i + n]).detach()) / sigma) if sigma else 1.0 for i in range(n)]
    total = torch.zeros((), dtype=z1.dtype)
    for i in range(2 * n):
        weight = 2 - near[i % n] * n / sum(near)
        others = torch.stack([rows[i] @ rows[k] / temperature for k in range(2 * n) if k % n != i % n])
        repulsion = others.max() + (others - others.max()).exp().sum().log()
        total = total + repulsion - weight * (rows[i] @ rows[(i + n) % (2 * n)]) / temperature
    return total / (2 * n)


def moco_reference(query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.2) -> Tensor:
    """The positive is the first of K + 1 classes, as in the published pseudocode."""

    def unit(z: Tensor) -> Tensor:
        return z / z.square().sum().sqrt()

    terms = []
    for q, k in zip(query, key.detach(), strict=True):
        rows = [unit(k), *(unit(row) for row in queue.detach())]
        logits = torch.stack([unit(q) @ row for row in rows]) / temperature
        terms.append(logits.max() + (logits - logits.max()).exp().sum().log() - logits[0])
    return torch.stack(terms).mean()


def ressl_reference(
    query: Tensor,
    key: Tensor,
    queue: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    terms = []
    for q, k in zip(query, key.detach(), strict=True):
        seen = (
            torch.stack([q @ row / (q.norm() * row.norm()) for row in queue.detach()]) / student_temperature
        )
        told = (
            torch.stack([k @ row / (k.norm() * row.norm()) for row in queue.detach()]) / teacher_temperature
        )
        p = (told - told.max()).exp() / (told - told.max()).exp().sum()
        log_q = seen - seen.max() - (seen - seen.max()).exp().sum().log()
        terms.append(-sum(p[j] * log_q[j] for j in range(len(queue))))
    return torch.stack(terms).mean()


def moco_v3_reference(query: Tensor, key: Tensor, temperature: float = 0.2) -> Tensor:
    """The published pseudocode, with a log-softmax that is written out."""
    terms = []
    for n, q in enumerate(query):
        logits = torch.stack([q @ k / (q.norm() * k.norm()) for k in key.detach()]) / temperature
        terms.append(logits.max() + (logits - logits.max()).exp().sum().log() - logits[n])
    return 2 * temperature * torch.stack(terms).mean()


def nnclr_reference(
    prediction: Tensor, projection: Tensor, queue: Tensor, temperature: float = 0.1
) -> Tensor:
    def similarity(a: Tensor, b: Tensor) -> Tensor:
        return a @ b / (a.norm() * b.norm())

    terms = []
    for n, z in enumerate(projection.detach()):
        nearest = max(queue.detach(), key=lambda row: float(similarity(z, row)))
        logits = torch.stack([similarity(nearest, p) for p in prediction]) / temperature
        terms.append(logits.max() + (logits - logits.max()).exp().sum().log() - logits[n])
    return torch.stack(terms).mean()


def barlow_twins_reference(z1: Tensor, z2: Tensor, lambda_: float = 0.0051) -> Tensor:
    n, d = z1.shape

    def normalised(column: Tensor) -> Tensor:
        mean = column.sum() / n
        return (column - mean) / ((column - mean).square().sum() / n + 1e-5).sqrt()

    total = torch.zeros((), dtype=z1.dtype)
    for i in range(d):
        for j in range(d):
            c = (normalised(z1[:, i]) * normalised(z2[:, j])).sum() / n
            total = total + ((c - 1) ** 2 if i == j else lambda_ * c**2)
    return total


def mixed_barlow_reference(
    z1: Tensor, z2: Tensor, partner: Tensor, mixed: Tensor, share: Tensor, eps: float = 1e-5
) -> Tensor:
    """With both matrices of each difference formed, element by element."""
    n, d = z1.shape

    def normalised(column: Tensor) -> Tensor:
        mean = column.sum() / n
        return (column - mean) / ((column - mean).square().sum() / n + eps).sqrt()

    total = torch.zeros((), dtype=z1.dtype)
    for view in (z1, z2):
        for i in range(d):
            for j in range(d):
                other = normalised(view[:, j])
                found = (normalised(mixed[:, i]) * other).sum() / n
                first = (share * normalised(z1[:, i]) * other).sum() / n
                second = ((1 - share) * normalised(partner[:, i]) * other).sum() / n
                total = total + (found - first - second) ** 2
    return total


def dino_reference(
    student: Tensor,
    teacher: Tensor,
    center: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    terms = []
    for g in range(len(teacher)):
        for v in range(len(student)):
            for n in range(student.shape[1]):
                if g != v:
                    t = (teacher[g, n] - center) / teacher_temperature
                    s = student[v, n] / student_temperature
                    q = (t - t.max()).exp() / (t - t.max()).exp().sum()
                    log_p = s - s.max() - (s - s.max()).exp().sum().log()
                    terms.append(-(q.detach() * log_p).sum())
    return torch.stack(terms).mean()


def swav_reference(
    student: Tensor,
    teacher: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.05,
    rounds: int = 3,
    queue: Tensor | None = None,
) -> Tensor:
    terms = []
    for g in range(len(teacher)):
        together = teacher[g] if queue is None else torch.cat([teacher[g], queue[g]])
        # The published form: prototypes are rows and sum to 1 / K, samples are columns and sum to 1 / N.
        q = (together.detach().T / teacher_temperature).exp()
        q = q / q.sum()
        for _ in range(rounds):
            for k in range(len(q)):
                q[k] /= q[k].sum() * len(q)
            for n in range(q.shape[1]):
                q[:, n] /= q[:, n].sum() * q.shape[1]
        for v in range(len(student)):
            for n in range(student.shape[1]):
                if g != v:
                    s = student[v, n] / student_temperature
                    log_p = s - s.max() - (s - s.max()).exp().sum().log()
                    terms.append(-(q.shape[1] * q[:, n] * log_p).sum())
    return torch.stack(terms).mean()


def masked_reconstruction_reference(
    prediction: Tensor, target: Tensor, mask: Tensor, normalize: bool = True, power: float = 2.0
) -> Tensor:
    terms = []
    for n, patch in mask.nonzero().tolist():
        y = target[n, patch]
        if normalize:
            variance = (y - y.mean()).square().sum() / (len(y) - 1)
            y = (y - y.mean()) / (variance + 1e-6).sqrt()
        terms.append(((prediction[n, patch] - y).abs() ** power).sum() / len(y))
    return torch.stack(terms).mean()


def ibot_reference(
    student: Tensor,
    teacher: Tensor,
    weight: Tensor,
    center: Tensor | None = None,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
    rounds: int = 3,
) -> Tensor:
    patches, prototypes = student.shape
    if center is None:
        q = (teacher / teacher_temperature).exp()
        for _ in range(rounds):
            q = torch.stack([q[:, k] / q[:, k].sum() / prototypes for k in range(prototypes)], 1)
            q = torch.stack([q[m] / q[m].sum() / patches for m in range(patches)])
        q = q * patches
    else:
        e = ((teacher - center) / teacher_temperature).exp()
        q = torch.stack([e[m] / e[m].sum() for m in range(patches)])
    loss = torch.zeros((), dtype=student.dtype)
    for m in range(patches):
        e = (student[m] / student_temperature).exp()
        loss = loss - weight[m] * sum(q[m, k] * (e[k] / e.sum()).log() for k in range(prototypes))
    return loss


def matched_cells_reference(cells1: Tensor, cells2: Tensor, temperature: float = 0.1) -> Tensor:
    """A term for each cell of each view, its negatives gathered one by one."""
    n, k, _ = cells1.shape
    terms = []
    for mine, theirs in ((cells1, cells2), (cells2, cells1)):
        for i in range(n):
            for c in range(k):
                pairs = [(i, c), *((m, j) for m in range(n) for j in range(k) if m != i)]
                scores = []
                for m, j in pairs:
                    a, b = mine[i, c], theirs[m, j]
                    scores.append(a @ b / (a.square().sum() * b.square().sum()).sqrt() / temperature)
                p = [score.exp() for score in scores]
                terms.append(-(p[0] / sum(p)).log())
    return torch.stack(terms).mean()


def capi_reference(logits: Tensor, assignments: Tensor, temperature: float = 0.12) -> Tensor:
    terms = []
    for row, q in zip(logits.flatten(0, -2), assignments.flatten(0, -2), strict=True):
        e = (row / temperature).exp()
        terms.append(-sum(q[k] * (e[k] / e.sum()).log() for k in range(len(q))))
    return torch.stack(terms).mean()


def _divergence(told: Tensor, seen: Tensor) -> Tensor:
    p, q = ((x - x.max()).exp() / (x - x.max()).exp().sum() for x in (told, seen))
    return sum((p[j] * (p[j].log() - q[j].log()) for j in range(len(p))), torch.zeros(()))


def distill_relations_reference(
    student: Tensor, teacher: Tensor, queue: Tensor, temperature: float = 0.07
) -> Tensor:
    terms = []
    for s, t in zip(student, teacher.detach(), strict=True):
        seen, told = (
            torch.stack([x @ row / (x.norm() * row.norm()) for row in queue.detach()]) / temperature
            for x in (s, t)
        )
        terms.append(_divergence(told, seen))
    return torch.stack(terms).mean()


def distill_tokens_reference(student: Tensor, teacher: Tensor, temperature: float = 0.07) -> Tensor:
    terms = []
    for s, t in zip(student, teacher.detach(), strict=True):
        for i in range(len(s)):
            seen, told = (
                torch.stack([x[i] @ row / (x[i].norm() * row.norm()) for row in x]) / temperature
                for x in (s, t)
            )
            terms.append(_divergence(told, seen))
    return torch.stack(terms).mean()


def distill_layer_reference(prediction: Tensor, target: Tensor) -> Tensor:
    terms = []
    for p, t in zip(prediction.flatten(0, 1), target.detach().flatten(0, 1), strict=True):
        cosine = p @ t / (p.norm() * t.norm())
        terms.append(
            sum(abs(p[d] - t[d]) for d in range(len(p))) / len(p) - (1 / (1 + (-cosine).exp())).log()
        )
    return torch.stack(terms).mean()


def data2vec_reference(prediction: Tensor, target: Tensor) -> Tensor:
    terms = []
    for p, t in zip(prediction.flatten(0, -2), target.flatten(0, -2), strict=True):
        terms.append(sum((p[d] - t[d]) ** 2 for d in range(len(p))) / len(p) ** 0.5)
    return torch.stack(terms).mean()


def latent_prediction_reference(prediction: Tensor, target: Tensor) -> Tensor:
    terms = []
    for p, t in zip(prediction.flatten(0, -2), target.flatten(0, -2), strict=True):
        y = (t - t.mean()) / ((t - t.mean()).square().mean() + 1e-5).sqrt()
        for e in (p - y).abs():
            terms.append(e**2 / 2 if e < 1 else e - 0.5)
    return torch.stack(terms).mean()


def vicreg_reference(
    z1: Tensor, z2: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    n, d = z1.shape

    def cov(z: Tensor, i: int, j: int) -> Tensor:
        x, y = z[:, i], z[:, j]
        return ((x - x.sum() / n) * (y - y.sum() / n)).sum() / (n - 1)

    loss = invariance * sum(((z1[i] - z2[i]) ** 2).sum() for i in range(n)) / (n * d)
    for z in (z1, z2):
        for i in range(d):
            hinge = (1 - (cov(z, i, i) + 1e-4).sqrt()).clamp(min=0)
            loss = loss + variance * hinge / d / 2
            loss = loss + covariance * sum(cov(z, i, j) ** 2 for j in range(d) if j != i) / d
    return loss


def tico_reference(z1: Tensor, z2: Tensor, moment: Tensor, rho: float = 8.0, beta: float = 0.9) -> Tensor:
    n, d = z1.shape
    rows = [row / row.square().sum().sqrt() for row in z1]
    targets = [row / row.square().sum().sqrt() for row in z2.detach()]
    total = torch.ones((), dtype=z1.dtype)
    c = [[beta * float(moment[i, j]) for j in range(d)] for i in range(d)]
    for row in rows:
        for i in range(d):
            for j in range(d):
                c[i][j] += (1 - beta) * float(row[i].detach()) * float(row[j].detach()) / n
    for row, target in zip(rows, targets, strict=True):
        total = total - row @ target / n
        for i in range(d):
            for j in range(d):
                total = total + rho * row[i] * c[i][j] * row[j] / n
    return total


def frossl_reference(z: Tensor, weight: float = 1.0) -> Tensor:
    """With C, its trace and its norm written out."""
    views, n, d = z.shape
    unit = []
    for view in z:
        columns = [view[:, i] / view[:, i].square().sum().sqrt() for i in range(d)]
        unit.append(torch.stack(columns, dim=1))
    mean = sum(unit) / views
    total = torch.zeros((), dtype=z.dtype)
    for u in unit:
        c = torch.stack([torch.stack([(u[:, i] * u[:, j]).sum() for j in range(d)]) for i in range(d)])
        c = c / sum(c[i, i] for i in range(d))
        apart = sum(((u[i] - mean[i]) ** 2).sum() for i in range(n)) / (n * d)
        total = total + (c**2).sum().log() + weight * views * d * apart
    return total


def mmcr_reference(z: Tensor, lambda_: float = 0.0) -> Tensor:
    """The nuclear norm from the eigenvalues of the smaller Gram matrix."""
    views, n, d = z.shape

    def nuclear(rows: list[Tensor]) -> Tensor:
        x = torch.stack(rows)
        gram = x @ x.T if len(x) < d else x.T @ x
        return torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().sum()

    unit = [[z[v, i] / z[v, i].square().sum().sqrt() for v in range(views)] for i in range(n)]
    loss = -nuclear([sum(rows, torch.zeros_like(rows[0])) / views for rows in unit])
    for rows in unit:
        loss = loss + lambda_ * nuclear(rows) / n
    return loss


def byol_reference(prediction: Tensor, target: Tensor) -> Tensor:
    """Of unit vectors that are formed first, as the paper has it."""
    terms = []
    for p, t in zip(prediction, target.detach(), strict=True):
        terms.append((p / p.square().sum().sqrt() - t / t.square().sum().sqrt()).square().sum())
    return torch.stack(terms).mean()


def simsiam_reference(prediction: Tensor, target: Tensor) -> Tensor:
    terms = []
    for p, z in zip(prediction, target.detach(), strict=True):
        terms.append(-(p @ z) / (p.square().sum().sqrt() * z.square().sum().sqrt()))
    return torch.stack(terms).mean()


def koleo_reference(z: Tensor) -> Tensor:
    rows = [row / row.norm() for row in z]
    terms = []
    for i, row in enumerate(rows):
        distances = [(row - other + 1e-8).norm() for j, other in enumerate(rows) if j != i]
        terms.append(-(min(distances) + 1e-8).log())
    return torch.stack(terms).mean()


def msn_reference(
    anchors: Tensor,
    target: Tensor,
    prototypes: Tensor,
    temperature: float = 0.1,
    sharpening: float = 0.25,
    balancing: int = 3,
    regularization: float = 1.0,
) -> Tensor:
    views, n, _ = anchors.shape

    def probabilities(z: Tensor) -> Tensor:
        cosines = torch.stack([z @ p / (z.norm() * p.norm()) for p in prototypes]) / temperature
        return (cosines - cosines.max()).exp() / (cosines - cosines.max()).exp().sum()

    rows = []
    for i in range(n):
        row = probabilities(target[i]).detach() ** (1 / sharpening)
        rows.append(row / row.sum())
    q = torch.stack(rows)
    for _ in range(balancing):
        q = q / q.sum(0)
        q = q / q.sum(1, keepdim=True)
    total = torch.zeros((), dtype=anchors.dtype)
    mean = torch.zeros(len(prototypes), dtype=anchors.dtype)
    for v in range(views):
        for i in range(n):
            p = probabilities(anchors[v, i])
            total = total - (q[i] * p.log()).sum() / (views * n)
            mean = mean + p / (views * n)
    entropy = -sum(share * share.log() for share in mean)
    return total + regularization * (math.log(len(prototypes)) - entropy)


def relational_reference(alike: Tensor, unlike: Tensor, gamma: float = 2.0, alpha: float = 0.5) -> Tensor:
    terms = []
    for scores, sign in ((alike, 1), (unlike, -1)):
        for score in scores.flatten():
            p = 1 / (1 + (-sign * score).exp())
            terms.append(-alpha * (1 - p) ** gamma * p.log())
    return torch.stack(terms).mean()


def diet_reference(logits: Tensor, index: Tensor, smoothing: float = 0.8) -> Tensor:
    terms = []
    for row, own in zip(logits, index.tolist(), strict=True):
        log_p = row - row.max() - (row - row.max()).exp().sum().log()
        for s in range(len(row)):
            label = smoothing / len(row) + (1 - smoothing if s == own else 0)
            terms.append(-label * log_p[s])
    return torch.stack(terms).sum() / len(logits)


def sla_joint_reference(logits: Tensor, labels: Tensor, transform: Tensor, transforms: int) -> Tensor:
    terms = []
    for row, y, i in zip(logits, labels.tolist(), transform.tolist(), strict=True):
        probabilities = (row - row.max()).exp() / (row - row.max()).exp().sum()
        terms.append(-probabilities[y * transforms + i].log())
    return torch.stack(terms).mean()


def sla_distill_reference(
    single: Tensor, aggregated: Tensor, temperature: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    total = torch.zeros((), dtype=single.dtype)
    for n in range(len(single)):
        share = 1 / len(single) if weight is None else weight[n]
        told, seen = aggregated[n].detach() / temperature, single[n] / temperature
        total = total + share * temperature**2 * _divergence(told, seen)
    return total


def cross_entropy_reference(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """As a mixture of the label's loss and the divergence from all classes alike."""
    terms = []
    for row, own in zip(logits, labels.tolist(), strict=True):
        p = row.exp() / row.exp().sum()
        terms.append(-(1 - smoothing) * p[own].log() - smoothing * p.log().sum() / len(p))
    return torch.stack(terms).sum() / len(terms)


def view_batch_reference(logits: Tensor) -> Tensor:
    views, n, classes = logits.shape
    p = [[row.exp() / row.exp().sum() for row in view] for view in logits]
    total = torch.zeros((), dtype=logits.dtype)
    for i in range(n):
        for j in range(1, views):
            for c in range(classes):
                total = total + p[0][i][c] * (p[0][i][c] / p[j][i][c]).log()
    return total / (n * (views - 1))


def barlow_twins_related_reference(
    z1: Tensor, z2: Tensor, lambda_: float = 0.0051, positives: Tensor | None = None
) -> Tensor:
    """With the rows of each pair beside one another; dimensions are standardised over the samples."""
    assert positives is not None
    first, second = positives.nonzero(as_tuple=True)

    def normalised(z: Tensor) -> Tensor:
        return (z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt()

    c = normalised(z1)[first].T @ normalised(z2)[second] / len(first)
    weights = torch.full_like(c, lambda_).fill_diagonal_(1)
    return (weights * (c - torch.eye(len(c))).square()).sum()


def vicreg_related_reference(
    z1: Tensor,
    z2: Tensor,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    positives: Tensor | None = None,
) -> Tensor:
    """The distance of the rows of each pair, and the two other terms of the views."""
    assert positives is not None
    pairs = [(z1[i] - z2[j]).square().mean() for i, j in positives.nonzero().tolist()]
    rest = vicreg_reference(z1, z2, 0.0, variance, covariance)
    return invariance * torch.stack(pairs).mean() + rest


def spectral_contrastive_reference(z: Tensor, positives: Tensor) -> Tensor:
    """Entry by entry."""
    rows = [(n, row) for view in z for n, row in enumerate(view)]
    apart = [((one * other).mean() - float(positives[n, m])) ** 2 for n, one in rows for m, other in rows]
    return torch.stack(apart).sum() / len(rows)


def triplet_reference(z: Tensor, positives: Tensor, margin: float = 0.5, negatives: int = 4) -> Tensor:
    """Row by row."""
    rows, terms = [(n, row / row.norm()) for view in z for n, row in enumerate(view)], []
    for i, (n, anchor) in enumerate(rows):
        near = [anchor @ row for m, row in rows if not positives[n, m]]
        near = sorted(near, key=lambda each: -float(each.detach()))[:negatives]
        mine = [anchor @ row for k, (m, row) in enumerate(rows) if positives[n, m] and k != i]
        if near and mine:
            terms.append(
                torch.stack([(margin - one + other).clamp(min=0) for one in mine for other in near]).mean()
            )
    return torch.stack(terms).mean() if terms else z.sum() * 0


def sup_con_reference(
    z: Tensor, positives: Tensor, temperature: float = 0.1, base_temperature: float | None = None
) -> Tensor:
    """A row's term by itself; its sample's other views count once each."""
    rows = [(n, row / row.norm()) for view in z for n, row in enumerate(view)]
    terms = []
    for i, (n, anchor) in enumerate(rows):
        weights, logits = [], []
        for k, (m, other) in enumerate(rows):
            if k != i:
                weights.append(1.0 if m == n else float(positives[n, m]))
                logits.append(anchor @ other / temperature)
        if sum(weights):
            log_p = torch.stack(logits) - torch.stack(logits).logsumexp(0)
            terms.append(-sum(w * p for w, p in zip(weights, log_p, strict=True)) / sum(weights))
    return temperature / (base_temperature or temperature) * torch.stack(terms).mean()


def look_reference(z: Tensor, labels: Tensor, k: int = 20, temperature: float = 0.1) -> Tensor:
    rows, terms = [row / row.norm() for row in z], []
    for i, anchor in enumerate(rows):
        nearness = {j: anchor @ row / temperature for j, row in enumerate(rows) if j != i}
        ranked = sorted(nearness, key=lambda j, known=nearness: -float(known[j].detach()))
        own = [j for j in ranked if labels[j] == labels[i]]
        if own:
            near = {*ranked[:k], own[0]}
            right = torch.stack([nearness[j] for j in near if j in own]).logsumexp(0)
            terms.append(torch.stack([nearness[j] for j in near]).logsumexp(0) - right)
    return torch.stack(terms).mean()


def lejepa_reference(
    z: Tensor, large: int = 2, lambda_: float = 0.05, slices: int = 1024, seed: int = 0
) -> Tensor:
    views, n, d = z.shape
    apart = torch.zeros((), dtype=z.dtype)
    for i in range(n):
        centre = sum(z[v, i] for v in range(large)) / large
        for v in range(views):
            apart = apart + (z[v, i] - centre).square().sum() / (views * n * d)
    normal = sum(sigreg_reference(view, slices, seed=seed) for view in z) / views
    return lambda_ * normal + (1 - lambda_) * apart


def sigreg_reference(
    z: Tensor, slices: int = 1024, knots: int = 17, t_max: float = 3.0, seed: int = 0
) -> Tensor:
    """Over the whole interval and with complex exponentials."""
    drawn = torch.randn(z.shape[1], slices, generator=torch.Generator().manual_seed(seed)).to(z)
    projected = z @ (drawn / drawn.square().sum(0).sqrt())
    times = [k * t_max / (knots - 1) for k in range(1 - knots, knots)]
    total = torch.zeros(slices, dtype=z.dtype)
    for k, t in enumerate(times):
        width = t_max / (knots - 1) * (0.5 if k in (0, len(times) - 1) else 1)
        gaussian = math.exp(-(t**2) / 2)
        phi = torch.exp(1j * t * projected).mean(0)
        total = total + width * gaussian * (phi - gaussian).abs().square()
    return len(z) * total.mean()
