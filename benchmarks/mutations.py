"""Break the objectives on purpose, one change at a time, and see whether a test notices.

    python benchmarks/mutations.py                # all of them, two at a time
    python benchmarks/mutations.py --only spread  # and keeps what was found of the other files

A mutation replaces a text in one file of ``selfsup/objectives`` in a copy of the checkout, and runs the tests
of that folder until one fails, the likeliest ones first. A mutation that survives is a hole in the tests.
Results go to ``benchmarks/results/mutations.json``.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from origin import origin

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "mutations.json"
FOLDER = Path("selfsup/objectives")
STUDENT, TEACHER = "    student_temperature: float =", "    teacher_temperature: float ="
GATHERED = "log_sums = gather(log_q.logsumexp(dim=-2, keepdim=True).unsqueeze(0)).logsumexp(dim=0)"
OF_ONE = "        if b is None:\n            return 2 * twice * "

# file -> what the names of the tests contain that are to be tried first
LIKELIEST = {
    "contrastive": "nt_xent",
    "redundancy": "barlow or vicreg",
    "correlation": "barlow or vicreg or dimensions",
    "spread": "koleo or sigreg",
    "distillation": "dino or center or swav or assign or swapped",
    "reconstruction": "masked or latent or patchify",
    "distributed": "processes or collectives",
    "precision": "half or refuses or largest",
    "floors": "trivial or floor or least",
    "masks": "mask or sampler or targets or context",
    "published_masks": "faithful",
}
# file -> (text that occurs once, what it becomes)
MUTATIONS: dict[str, list[tuple[str, str]]] = {
    "contrastive": [
        ("temperature: float = 0.1", "temperature: float = 0.2"),
        ("(local / temperature)", "local"),
        ("F.normalize(torch.cat([z1, z2]), dim=1)", "torch.cat([z1, z2])"),
        ("rank() * len(local)", "0 * len(local)"),
        ("gather_with_gradient(local).T", "gather_with_gradient(local.detach()).T"),
        ("logits.detach().diagonal(start).fill_(-torch.inf)", "pass"),
        (".roll(samples)", ".roll(samples + 1)"),
        ("all_reduce_mean(F.cross_entropy(logits, other_view))", "F.cross_entropy(logits, other_view)"),
        ("samples * world_size() < 2", "samples * world_size() < 1"),
    ],
    "redundancy": [
        ("lambda_: float = 0.0051", "lambda_: float = 0.005"),
        ("_standardise(z1) / samples", "_standardise(z1) / (samples - 1)"),
        ("diagonal = all_reduce_sum((a * b).sum(0))", "diagonal = (a * b).sum(0)"),
        ("(diagonal - 1)", "diagonal"),
        ("lambda_ * off_diagonal_squares(a, b)", "off_diagonal_squares(a, b)"),
        ("eps: float = 1e-5", "eps: float = 1e-6"),
        ("z - all_reduce_mean(z.mean(0))", "z - z.mean(0)"),
        ("(all_reduce_mean(centred.square().mean(0)) + eps)", "(centred.square().mean(0) + eps)"),
        ("invariance: float = 25.0", "invariance: float = 24.0"),
        ("variance: float = 25.0, covariance", "variance: float = 24.0, covariance"),
        ("covariance: float = 1.0", "covariance: float = 1.1"),
        ("all_reduce_mean((z1 - z2).square().mean())", "(z1 - z2).square().mean()"),
        ("(samples - 1) ** 0.5", "samples**0.5"),
        ("all_reduce_sum(x.square().sum(0)) + 1e-4", "x.square().sum(0) + 1e-4"),
        ("+ 1e-4).sqrt()", "+ 1e-5).sqrt()"),
        ("variance / 2", "variance"),
        ("(1 - deviation).relu()", "(1 - deviation).abs()"),
        ("/ x.shape[1]", "/ (x.shape[1] - 1)"),
        ("samples = z1.shape[0] * world_size()", "samples = z1.shape[0]"),
    ],
    "correlation": [
        ("sum_over_processes(a.T @ (a if b is None else b))", "a.T @ (a if b is None else b)"),
        ("correlation.diagonal().zero_()", "pass"),
        (
            "twice = 2 * sum_over_processes(gradient)\n" + OF_ONE + "(a @ correlation)",
            "twice = 2 * gradient\n" + OF_ONE + "(a @ correlation)",
        ),
        ("return 2 * twice * (a @ correlation), None", "return twice * (a @ correlation), None"),
        ("twice * (b @ correlation.T)", "twice * (b @ correlation)"),
        ("all_a = gather(a)", "all_a = a"),
        ("sum_over_processes((a * (a if b is None else b)).sum(0))", "(a * (a if b is None else b)).sum(0)"),
        ("sum_over_processes((rows_a * rows_b).sum(1).sum())", "(rows_a * rows_b).sum(1).sum()"),
        ("norm - diagonal.square().sum()", "norm"),
        (
            "twice = 2 * sum_over_processes(gradient)\n" + OF_ONE + "(rows_a",
            "twice = 2 * gradient\n" + OF_ONE + "(rows_a",
        ),
        (
            "return 2 * twice * (rows_a @ all_a - a * diagonal), None",
            "return 2 * twice * (rows_a @ all_a), None",
        ),
        ("twice * (rows_b @ all_a - b * diagonal)", "twice * (rows_b @ all_a)"),
        ("twice * (rows_a @ all_b - a * diagonal)", "twice * (rows_a @ all_b)"),
        (
            "samples, dimensions = a.shape[0] * world_size(), a.shape[1]",
            "samples, dimensions = 1, a.shape[1]",
        ),
        (
            "torch.linalg.vector_norm(matrix, dim=1).square().sum()",
            "torch.linalg.vector_norm(matrix, dim=1).sum()",
        ),
    ],
    "spread": [
        ("u = F.normalize(z, dim=1)", "u = z"),
        ("everyone = gather_with_gradient(u)", "everyone = gather_with_gradient(u.detach())"),
        ("diagonal(rank() * len(u))", "diagonal(0)"),
        ("similarity.diagonal(rank() * len(u)).fill_(-torch.inf)", "pass"),
        ("argmax(1)", "argmin(1)"),
        ("eps=1e-8", "eps=1e-7"),
        ("(distance + 1e-8)", "(distance + 1e-7)"),
        ("-all_reduce_mean((distance", "-((distance"),
        ("slices: int = 1024", "slices: int = 1000"),
        ("knots: int = 17", "knots: int = 16"),
        ("t_max: float = 3.0", "t_max: float = 4.0"),
        ("seed: int = 0", "seed: int = 1"),
        ("(-t.square() / 2).exp()", "(-t.square()).exp()"),
        ("weights = 2 * (t_max", "weights = (t_max"),
        ("weights[-1:] / 2", "weights[-1:]"),
        (
            "F.normalize(_normal(z.shape[1], slices, seed).to(z), dim=0)",
            "_normal(z.shape[1], slices, seed).to(z)",
        ),
        ("all_reduce_mean(_MeanWaves.apply(projected, t))", "_MeanWaves.apply(projected, t)"),
        ("(real - gaussian[:, None])", "real"),
        ("+ imaginary.square()", ""),
        ("z.shape[0] * world_size() * (weights", "z.shape[0] * (weights"),
        ("- real * angle.sin()", "+ real * angle.sin()"),
        ("total += frequency * (", "total += ("),
        ("return total / len(x), None", "return total, None"),
        ("generator=torch.Generator().manual_seed(seed)", "generator=torch.default_generator"),
    ],
    "distillation": [
        (f"{STUDENT} 0.1,\n{TEACHER} 0.04", f"{STUDENT} 0.2,\n{TEACHER} 0.04"),
        (f"{STUDENT} 0.1,\n{TEACHER} 0.05", f"{STUDENT} 0.2,\n{TEACHER} 0.05"),
        (f"{TEACHER} 0.04", f"{TEACHER} 0.07"),
        (f"{TEACHER} 0.05", f"{TEACHER} 0.04"),
        ("(teacher.detach() - center.detach())", "(teacher.detach())"),
        ("(teacher.detach() - center.detach())", "(teacher - center.detach())"),
        ("(teacher.detach() - center.detach())", "(teacher.detach() - center)"),
        ("(total - targets) * first", "total * first"),
        ("(views - 1)", "views"),
        ("samples * globals_ *", "globals_ *"),
        (
            "return all_reduce_mean(-agreement / (samples * globals_ * (views - 1)))",
            "return -agreement / (samples * globals_ * (views - 1))",
        ),
        ("all_reduce_mean(teacher.mean(dim=(0, 1)))", "teacher.mean(dim=(0, 1))"),
        ("@torch.no_grad()\ndef dino_center", "def dino_center"),
        ("@torch.no_grad()\n@full_precision", "@full_precision"),
        ("    rounds: int = 3,\n", "    rounds: int = 4,\n"),
        ("temperature: float = 0.05, rounds: int = 3)", "temperature: float = 0.05, rounds: int = 4)"),
        ("sinkhorn(teacher, teacher_temperature, rounds)", "sinkhorn(teacher, teacher_temperature)"),
        ("log_q = scores / temperature", "log_q = (scores - scores.amax(-1, keepdim=True)) / temperature"),
        (GATHERED, "log_sums = log_q.logsumexp(dim=-2, keepdim=True)"),
        ("log_q.logsumexp(dim=-2, keepdim=True)", "log_q.flatten(0, -2).logsumexp(dim=0, keepdim=True)"),
        ("(log_q - log_sums).log_softmax(dim=-1)", "log_q.log_softmax(dim=-1) - log_sums"),
    ],
    "reconstruction": [
        (".permute(0, 2, 4, 3, 5, 1)", ".permute(0, 2, 4, 1, 3, 5)"),
        ("normalize: bool = True", "normalize: bool = False"),
        ("target = target.detach()\n", "target = target\n"),
        ("+ 1e-6).rsqrt()", "+ 1e-5).rsqrt()"),
        ("target.var(-1, keepdim=True)", "target.var(-1, keepdim=True, correction=0)"),
        ("torch.where(mask, errors, 0).sum()", "errors.sum()"),
        ("all_reduce_sum(hidden)", "hidden"),
        ("mask.all()", "False"),
        ("not mask.any()", "False"),
        ("target.detach(), target.shape[-1:], eps=1e-5", "target, target.shape[-1:], eps=1e-5"),
        ("target.detach(), target.shape[-1:], eps=1e-5", "target.detach(), target.shape[-1:], eps=1e-6"),
        ("beta=1.0", "beta=0.9"),
        (
            "all_reduce_mean(F.smooth_l1_loss(prediction, target, beta=1.0))",
            "F.smooth_l1_loss(prediction, target, beta=1.0)",
        ),
    ],
    "distributed": [
        (
            "dist.reduce_scatter_tensor(own, gradient.contiguous())",
            "own.copy_(gradient.chunk(world_size())[rank()])",
        ),
        ("return sum_over_processes(gradient)", "return gradient"),
        ("all_reduce_sum(x) / world_size() if", "all_reduce_sum(x) if"),
        ("return dist.get_rank() if world_size() > 1 else 0", "return 0"),
        ("dist.all_reduce(total)", "pass"),
        ("total = x.clone(memory_format=torch.contiguous_format)", "total = x"),
    ],
    "precision": [
        ("torch.promote_types(dtype, tensor.dtype)", "dtype"),
        ("enabled=False", "enabled=True"),
        ("value.to(dtype) if isinstance", "value if isinstance"),
        ("check_half(**tensors)\n        check", "check"),
        ("check_finite(**tensors)\n        dtype", "dtype"),
        ("if wrong:", "if True:"),
    ],
    "floors": [
        ("2 * samples - 1", "2 * samples"),
        ("float(dimensions)", "float(dimensions - 1)"),
        ("dimensions / (samples - 1) - 1", "dimensions / samples - 1"),
        ("excess / (1 + excess)", "excess"),
        ("math.log(prototypes)", "math.log(prototypes - 1)"),
        ("(values - 1) / values", "1.0"),
        ("within + 2 * density - tail / 2", "within + 2 * density"),
        ("math.sqrt(1e-4)", "1e-4"),
        ("(math.sqrt(dimensions) + 1)", "math.sqrt(dimensions)"),
        ("-math.log(2)", "-math.log(3)"),
        ("(1 - gaussian**2)", "(1 - gaussian)"),
        ("(1 - gaussian) ** 2", "(1 - gaussian**2)"),
        ("(1 if k in ends else 2)", "2"),
    ],
    "masks": [
        ("kept = length - round(length * ratio)", "kept = int(length * (1 - ratio))"),
        ("grid[0] - shape[0] + 1", "grid[0] - shape[0]"),
        ("grid[1] - shape[1] + 1", "grid[1] - shape[1]"),
        ("+ 2 * covered(hidden, sides).float()", ""),
        ("context & ~covered(patches_of(corners, shape, grid), grid)", "context"),
        ("quantile(0.05)", "quantile(0.5)"),
        ("(1 - length, side + length - 1) if over_edge", "(0, side - length + 1) if over_edge"),
        ("else (0, side - length + 1)", "else (0, side - length)"),
        ("low * (high / low) **", "low + (high - low) *"),
        ("fits = larger.sum(1, keepdim=True) <= length - kept", "fits = larger.sum(1, keepdim=True) >= 0"),
    ],
    "published_masks": [
        ("(grid[0] - shape[0], grid[1] - shape[1])", "(grid[0] - shape[0] + 1, grid[1] - shape[1] + 1)"),
        ("(grid[0] - 1, grid[1] - 1)", "grid"),
        ("available.sum(1).min()", "available.sum(1).float().mean()"),
        ("attempt // 20", "attempt // 2000"),
        ("context.sum(1) <= min_keep", "context.sum(1) < 0"),
    ],
}


def killer(file: str, old: str, new: str) -> str | None:
    """The first test that fails with this mutation, or None if all pass."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("selfsup", "tests/objectives", "configs", "pyproject.toml"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        path = copy / FOLDER / f"{file}.py"
        text = path.read_text()
        if text.count(old) != 1:
            raise SystemExit(f"{file}: '{old}' occurs {text.count(old)} times, not once")
        path.write_text(text.replace(old, new))
        # The test of this very list would notice any change.
        (copy / "tests/objectives/test_page.py").unlink()
        tests = ["tests/objectives", str(FOLDER), "--doctest-modules"]
        if "masks" in file:
            tests = ["tests/objectives/test_masks.py", str(FOLDER / "masks.py"), "--doctest-modules"]
        return _first_failure(copy, [*tests, "-k", LIKELIEST[file]]) or _first_failure(copy, tests)


def _first_failure(checkout: Path, tests: list[str]) -> str | None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if found is None:
        raise SystemExit(f"pytest ended without a failed test:\n{done.stdout[-2000:]}")
    return found.group(1)


def _keep(rows: list[dict[str, Any]]) -> None:
    """Write what was found, in the order of the list, beside what is known of mutations not tried now."""
    known = json.loads(RESULTS.read_text())["mutations"] if RESULTS.is_file() else []
    newest = {(row["file"], row["old"], row["new"]): row for row in [*known, *rows]}
    listed = ((_path(file), old, new) for file, changes in MUTATIONS.items() for old, new in changes)
    found = [newest[mutation] for mutation in listed if mutation in newest]
    content = {"command": "python benchmarks/mutations.py", **origin(), "mutations": found}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")


def _path(file: str) -> str:
    return f"{FOLDER}/{file}.py"


def main() -> int:
    """Try the mutations; 1 if one survived."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=MUTATIONS, default=list(MUTATIONS))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    revision = origin()["revision"]
    tried = [(file, old, new) for file in arguments.only for old, new in MUTATIONS[file]]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        rows: list[dict[str, Any]] = []
        for (file, old, new), noticed in zip(tried, pool.map(lambda m: killer(*m), tried), strict=True):
            row = {"file": _path(file), "old": old, "new": new, "noticed_by": noticed}
            rows.append({**row, "revision": revision})
            print(f"{'noticed ' if noticed else 'SURVIVED'} {file}: {old!r} -> {new!r}", flush=True)
    survived = [row for row in rows if row["noticed_by"] is None]
    _keep(rows)
    print(f"{len(rows)} mutations, {len(survived)} survived")
    return int(bool(survived))


if __name__ == "__main__":
    sys.exit(main())
