"""Reports: of a run, or of several side by side."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsup.data import Source, UnreadableImage, load_data
from selfsup.data.relations import make_relation
from selfsup.data.workers import worker_count
from selfsup.encoder import Encoder, load_encoder
from selfsup.errors import UsageError
from selfsup.files import fitting, require_writable, write_text
from selfsup.report.cost import cost
from selfsup.report.embedding import FEWEST, eigenvalues, embedding_map, queries
from selfsup.report.folder import Run, read_run
from selfsup.report.gallery import Gallery, gflops_an_image, make_gallery
from selfsup.report.insight import insight
from selfsup.report.learner import (
    UNUSABLE,
    bounded,
    gflops_of_training,
    made_of,
    rebuild,
    said,
    views_seen,
)
from selfsup.report.page import render
from selfsup.report.pictures import false_colours

Sources = tuple[Source, Source]


def write_report(
    folders: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    images: int = 1000,
    gflops: float = 1000.0,
    pictures: bool = True,
    device: str = "cpu",
    sources: Sources | None = None,
) -> Path:
    """Write the report of one run or several as one HTML file, which needs neither network nor other files.

    A report says what a run lacks (it crashed early, its images are gone) and shows the rest.

    Args:
        folders: of the runs.
        out: the file. None: ``report.html`` in the folder of a single run, in place of an older one; of
            several runs ``report-NAME-NAME.html`` in the working directory.
        images: test images on the map, at most.
        gflops: the limit for encoding them, in billions of operations; large encoders get fewer images.
        pictures: whether to show sections that need images.
        device: that the encoder runs on.
        sources: training and test images, if they are loaded already.

    Returns:
        The file written.

    Raises:
        UsageError: a folder is not a run's, or ``out`` exists.
    """
    runs = [read_run(folder) for folder in folders]
    path = _path(runs, out)
    require_writable(path)
    seen = [_seen(run, images, gflops, pictures, device, sources) for run in runs]
    write_text(path, render(runs, seen), make_folders=True)
    return path


def _path(runs: Sequence[Run], out: str | Path | None) -> Path:
    if not runs:
        raise UsageError("no run to report on; name its folder, such as runs/latest")
    if out is None and len(runs) == 1:
        return runs[0].folder / "report.html"
    path = (
        Path(out)
        if out is not None
        else Path(fitting(f"report-{'-'.join(run.name for run in runs)}", ".html"))
    )
    if os.path.lexists(path):
        raise UsageError(f"'{path}' exists and is not overwritten; name another file with out=")
    return path


def _seen(
    run: Run, images: int, gflops: float, pictures: bool, device: str, sources: Sources | None
) -> dict[str, Any]:
    """The findings about a run (:func:`selfsup.report.page.render`)."""
    method = rebuild(run) if pictures else None
    encoder = _encoder(run, method)
    of_encoding = gflops_an_image(encoder) if encoder is not None else None
    found: dict[str, Any] = {"cost": cost(run, of_encoding)}
    if encoder is not None:
        found["false_colours"] = false_colours(len(encoder.mean))
    elif method is not None:
        found["false_colours"] = false_colours(method.views.channels)
    if not pictures:
        run.missing.append("Pictures were switched off (pictures=false).")
        return found
    both = sources or _sources(run)
    if both is None:
        return found
    train, test = both
    data = run.config["data"]
    try:
        if method is not None:
            with bounded(run):
                found["views"] = views_seen(method, train)
                found["made"] = made_of(method, train) if run.checkpoint is not None else []
                found["cost"] = cost(run, of_encoding, gflops_of_training(method, train))
        if encoder is not None:
            encoder, workers = encoder.to(device), worker_count(data.get("workers", 0), test)
            gallery = make_gallery(encoder, test, images, gflops, workers)
            found |= _seen_of(gallery, run.missing)
            if gallery.x.isfinite().all():
                found["insight"] = insight(encoder, test)
    except (UnreadableImage, UsageError) as error:
        run.missing.append(f"Images cannot be read: {error}.")
    except UNUSABLE as error:
        run.missing.append(f"The method's pictures cannot be shown ({said(error)}).")
    return found


def _seen_of(gallery: Gallery, missing: list[str]) -> dict[str, Any]:
    if len(gallery) < FEWEST:
        missing.append(f"{len(gallery)} test images are too few for a map and neighbours.")
        return {}
    if not gallery.x.isfinite().all():
        missing.append("The encoder's features are not finite, so there is no map: training destroyed it.")
        return {}
    return {
        "map": embedding_map(gallery),
        "queries": queries(gallery),
        "spectrum": eigenvalues(gallery),
    }


def _encoder(run: Run, method: Any) -> Encoder | None:
    """The saved encoder; for an unfinished run, that of its newest checkpoint."""
    if run.encoder is not None:
        try:
            return load_encoder(run.encoder).eval()
        except UNUSABLE as error:
            run.missing.append(f"The encoder cannot be loaded: {said(error)}.")
            return None
    if method is None or run.checkpoint is None:
        return None
    run.missing.append("The encoder shown is that of the newest checkpoint.")
    encoder: Encoder = method.learned_encoder().eval()
    return encoder


def _sources(run: Run) -> Sources | None:
    if not run.config.get("data"):
        return None
    try:
        # Only some of the images are shown.
        with bounded(run):
            train, test = load_data({**run.config["data"], "in_memory": False}, as_before=True)
            train.relation = make_relation(run.config, train, test)
            return train, test
    except (*UNUSABLE, OSError) as error:
        run.missing.append(f"The images cannot be shown: {said(error)}.")
        return None
