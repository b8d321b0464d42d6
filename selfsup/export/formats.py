"""Export formats of an encoder.

All but timm's include the normalisation: they take uint8 images ``(N, C, H, W)`` and give features ``(N,
D)``, for any N. Resizing stays outside, as does decoding; :func:`preprocessing` describes it. torch's records
of each operation's lines of code are removed: they hold paths of the exporting machine.
"""

import io
import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from selfsup.data.readers.values import as_setting
from selfsup.encoder import Encoder, save_encoder, write_model_card
from selfsup.errors import UsageError
from selfsup.evaluation.features.images import described, fitting
from selfsup.export.check import TOLERANCE, difference, photographs
from selfsup.files import part_of, written_whole

Reader = Callable[[Tensor], Tensor]  # uint8 images (N, C, H, W) -> features (N, D)


class Preprocessed(nn.Module):
    """An encoder that takes uint8 images ``(N, C, H, W)``.

    >>> from selfsup import build_encoder
    >>> model = Preprocessed(build_encoder("resnet18", image_size=32)).eval()
    >>> model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape
    torch.Size([2, 512])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.model = encoder.model
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (encoder.mean, encoder.std))
        self.register_buffer("mean", 255 * mean)
        self.register_buffer("std", 255 * std)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.model((images.float() - self.mean) / self.std)
        return features


def preprocessing(encoder: Encoder) -> dict[str, Any]:
    """The preprocessing of an image for an exported model, in words and numbers."""
    channels, (height, width) = encoder.channels, encoder.input_size
    shape = "image_size, image_size" if height == width else f"{height}, {width}"
    images = f"{'RGB ' if channels == 3 else ''}(N, {channels}, {shape})"
    return {
        **described(fitting(encoder)),
        "input": f"uint8 {images}; normalised inside",
        "output": f"float32 (N, {encoder.dim})",
        "mean": list(encoder.mean),
        "std": list(encoder.std),
        "range": as_setting(encoder.range),
        "values": "uint8 = rint(255 * clip((value - low) / (high - low), 0, 1)), before resizing; a range of "
        "null is that of the values' type",
    }


def export(encoder: Encoder, format: str, out: str | Path) -> float:
    """Write an encoder in a format, read it back, and compare its features of two photographs.

    Args:
        encoder: on the CPU.
        format: one of :data:`FORMATS`.
        out: the file, or for ``timm`` the folder, which must not exist.

    Returns:
        The largest difference from the original's features.

    Raises:
        UsageError: unknown format, ``out`` exists, the format cannot hold the model, or the written file
            gives other features; it is then left for inspection.
        OSError: the disk is full, or refuses otherwise; nothing is left at ``out``.
    """
    out = Path(out)
    if format not in FORMATS:
        raise UsageError(f"no format '{format}'; there are {', '.join(FORMATS)}")
    if os.path.lexists(out):
        raise UsageError(f"'{out}' exists and is not overwritten; name another with out=")
    reader = FORMATS[format](encoder.eval(), out)
    found = difference(Preprocessed(encoder).eval(), reader, photographs(fitting(encoder), encoder.channels))
    if not found <= TOLERANCE:
        raise UsageError(
            f"the file '{out}' gives features that differ by {found:.2g} from the encoder's, "
            f"more than {TOLERANCE:g}; use another format"
        )
    return found


def _timm(encoder: Encoder, out: Path) -> Reader:
    card = {key: value for key, value in encoder.card.items() if key not in _OF_THE_ENCODER}
    aside = part_of(out)
    try:
        write_model_card(save_encoder(encoder, aside, card))
        os.rename(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    plain = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    data = resolve_model_data_config(plain)
    mean, std = (torch.tensor(data[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    return lambda images: plain((images.float() / 255 - mean) / std)


def _torchscript(encoder: Encoder, out: Path) -> Reader:
    model, whole = Preprocessed(encoder).eval(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every shape that timm asserts
        traced = torch.jit.trace(model, _images(encoder))
        torch.jit.save(traced, whole, {"preprocessing.json": json.dumps(preprocessing(encoder))})
        with written_whole(out, overwrite=False, make_folders=True) as file:
            _copy_without_lines(whole, file)
        loaded = torch.jit.load(str(out))
    return lambda images: loaded(images)


def _copy_without_lines(whole: BinaryIO, to: BinaryIO) -> None:
    """A TorchScript file without the optional records of the code's lines."""
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(to, "w") as copy:
        for record in archive.infolist():
            if not record.filename.endswith(".debug_pkl"):
                copy.writestr(zipfile.ZipInfo(record.filename), archive.read(record), record.compress_type)


def _pt2(encoder: Encoder, out: Path) -> Reader:
    program = _exported(encoder)
    extra = {"preprocessing.json": json.dumps(preprocessing(encoder))}
    with written_whole(out, overwrite=False, make_folders=True) as file:
        whole = io.BytesIO()
        torch.export.save(program, whole, extra_files=extra)
        file.write(whole.getbuffer())
    return torch.export.load(io.BytesIO(out.read_bytes())).module()


def _onnx(encoder: Encoder, out: Path) -> Reader:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise UsageError("format=onnx needs more packages: pip install 'selfsup[export]'") from error
    program = torch.onnx.export(
        _exported(encoder),
        (_images(encoder),),
        dynamo=True,
        input_names=["images"],
        output_names=["features"],
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {"preprocessing": json.dumps(preprocessing(encoder))})
    with written_whole(out, overwrite=False, make_folders=True) as file:
        file.write(model.SerializeToString())
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _exported(encoder: Encoder) -> torch.export.ExportedProgram:
    model = Preprocessed(encoder).eval()
    shapes = {"images": {0: torch.export.Dim("batch", min=1)}}
    try:
        program = torch.export.export(model, (_images(encoder),), dynamic_shapes=shapes)
    except (RuntimeError, ValueError, TypeError, torch._dynamo.exc.UserError) as error:
        name, reason = encoder.recipe["name"], str(error).strip().splitlines()[0]
        raise UsageError(f"torch.export cannot trace '{name}' ({reason}); use format=torchscript") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _images(encoder: Encoder) -> Tensor:
    return torch.zeros(2, encoder.channels, *encoder.input_size, dtype=torch.uint8)


_OF_THE_ENCODER = ("recipe", "resizing", "fingerprint", "features_of_fixed_input")
FORMATS: dict[str, Callable[[Encoder, Path], Reader]] = {
    "timm": _timm,
    "onnx": _onnx,
    "torchscript": _torchscript,
    "pt2": _pt2,
}
