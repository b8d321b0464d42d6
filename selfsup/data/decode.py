"""From an encoded image to the pixels that a person sees, as uint8 RGB."""

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.dlpack import from_dlpack

ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
LARGE = 2**24  # pixels from which on an image is shrunk, and converted in strips, to spare memory
_JPEG = ("JPEG", "MPO")  # the second is what telephones call several JPEGs in one file
_SHRINKABLE = ("L", "LA", "RGB", "RGBA", "CMYK")  # modes of which PIL can take means

# PIL warns of half the size that it refuses, once in each loading process, without saying which image; such
# pictures are read as any other, and those that it refuses are told by name.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


class UnreadableImage(Exception):
    """An image that cannot be decoded: `name` is what a person calls it, `reason` says why."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot read image {self.name!r}: {self.reason}"


class Picture:
    """An image of which no more than the header has been read.

    Args:
        file: a path, encoded bytes, or pixels: uint8 (3, H, W).
        name: what a person calls it.

    Attributes:
        height, width: in pixels, as a person holds the picture.

    Raises:
        UnreadableImage: if the file is missing, empty, no image, or has more than twice
            `PIL.Image.MAX_IMAGE_PIXELS`, 179 million, pixels: a decompression bomb.
    """

    def __init__(self, file: str | Path | bytes | Tensor, name: str) -> None:
        self._file, self._name = file, name
        if isinstance(file, Tensor):
            self.height, self.width = file.shape[1:]
            return
        if isinstance(file, bytes):
            if not file:
                raise UnreadableImage(name, "it is empty")
            stream: io.BytesIO | str = io.BytesIO(file)
        else:
            _check_file(file, name)
            stream = os.fspath(file)
        with _readable(name):
            self._image = Image.open(stream)
            turned = _orientation(self._image) in _SIDEWAYS
        width, height = self._image.size
        # PIL turns a TIFF when it loads it, and has the size it will have then.
        self.height, self.width = (
            (width, height) if turned and self._image.format != "TIFF" else (height, width)
        )

    def pixels(self, shrink: float = 1) -> Tensor:
        """Decode, once.

        Grey is replicated to three channels, transparency is laid on white, 16 bits are scaled to 8,
        palettes and CMYK are converted, and the rotation that a camera noted in EXIF is applied. Of an
        animation, the first frame is taken.

        Args:
            shrink: how many times smaller the picture may come out where that spares time or memory:
                a JPEG by 2, 4 or 8 without decoding all of it, others by a whole number if they are
                huge. Sides are rounded up.

        Returns:
            uint8 (3, H, W); a view of PIL's memory, in which a fourth byte follows each three, where PIL
            has it in one piece, up to 4 million pixels, and channels last in memory of any other encoded one.

        Raises:
            UnreadableImage: if the file is damaged.
        """
        if isinstance(self._file, Tensor):
            return self._file
        with _readable(self._name), self._image:
            return _tensor(self._load(shrink))[:3]

    def around(self, boxes: Sequence[Sequence[int]], shrink: float = 1) -> tuple[Tensor, list[list[int]]]:
        """Decode, once, and convert only the smallest part that has some boxes in it.

        Args:
            boxes: each (top, left, height, width) in the whole picture.
            shrink: as for `pixels`, and with the same errors.

        Returns:
            The part, as `pixels` gives it, but with PIL's fourth byte, which means nothing, as a fourth
            channel: torch resizes that without a copy. And the boxes in it, to the nearest of its pixels.
        """
        if isinstance(self._file, Tensor):
            return self._file, [list(box) for box in boxes]
        with _readable(self._name), self._image:
            image = self._load(shrink)
            boxes = [_scaled(box, image.height / self.height, image.width / self.width) for box in boxes]
            top, left = min(box[0] for box in boxes), min(box[1] for box in boxes)
            bottom, right = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
            pixels = _uncopied(image)
            if pixels is None and image.mode[0] in "IF":  # whose conversion looks at all values
                pixels = _tensor(image)
            if pixels is None:
                part = _tensor(image.crop((left, top, right, bottom)))
            else:
                part = pixels[:, top:bottom, left:right]
        return part, [[box[0] - top, box[1] - left, *box[2:]] for box in boxes]

    def _load(self, shrink: float) -> Image.Image:
        image: Image.Image = self._image
        if self._image.format in _JPEG:
            # To the smallest of the sizes that are 1, 1/2, 1/4 and 1/8 and at least as large as this.
            size = max(1, int(image.width / shrink)), max(1, int(image.height / shrink))
            self._image.draft(image.mode, size)
        elif shrink >= 2 and image.width * image.height > LARGE and image.mode in _SHRINKABLE:
            image = image.reduce(int(shrink))
        image.load()
        return _upright(image)


def decode(file: str | Path | bytes, name: str) -> Tensor:
    """Decode one image in full: uint8 (3, H, W), contiguous. See :class:`Picture`."""
    return Picture(file, name).pixels().contiguous()


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an :class:`UnreadableImage`."""
    try:
        yield
    # On damaged files decoders raise nearly anything: OSError, SyntaxError, ValueError, EOFError,
    # RuntimeError, struct.error, IndexError, zlib.error, DecompressionBombError.
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableImage(name, _reason(error)) from error


def _check_file(file: str | Path, name: str) -> None:
    # Opening a named pipe would wait for ever, so anything that is no plain file is refused first.
    if os.path.islink(file) and not os.path.exists(file):
        raise UnreadableImage(name, "it is a broken link")
    if not os.path.isfile(file):
        raise UnreadableImage(name, "there is no such file")
    if os.path.getsize(file) == 0:
        raise UnreadableImage(name, "it is empty")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a known format"
    return " ".join(str(error).split()) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _upright(image: Image.Image) -> Image.Image:
    """`PIL.ImageOps.exif_transpose` that does not write EXIF anew, which fails on odd but harmless tags."""
    turn = ORIENTATION.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _scaled(box: Sequence[int], down: float, across: float) -> list[int]:
    """The box in a picture that was decoded smaller, to the nearest pixel of it."""
    if down == across == 1:
        return list(box)
    top, bottom = round(box[0] * down), round((box[0] + box[2]) * down)
    left, right = round(box[1] * across), round((box[1] + box[3]) * across)
    return [top, left, max(1, bottom - top), max(1, right - left)]


def _tensor(image: Image.Image) -> Tensor:
    """uint8 (4, H, W) as :func:`_uncopied`, or (3, H, W), channels last."""
    image = _rgb(image) if image.width * image.height <= LARGE else image
    pixels = _uncopied(image)
    return torch.from_numpy(_array(image)).permute(2, 0, 1) if pixels is None else pixels


def _uncopied(image: Image.Image) -> Tensor | None:
    """uint8 (4, H, W) in PIL's own memory, its last channel of no meaning, of RGB that is in one piece."""
    if image.mode != "RGB" or "transparency" in image.info:
        return None
    try:
        flat = from_dlpack(pa.array(image).flatten())
    except ValueError:  # it is in several pieces
        return None
    return flat.view(image.height, image.width, 4).permute(2, 0, 1)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_wide(image).convert("RGB")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image.convert("RGB")


def _from_wide(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (PIL's modes I;16 and I), or of floats in [0, 1], to 8 bits."""
    values = np.asarray(image).astype(np.float64)
    top = 1.0 if image.mode == "F" else 65535.0
    if not (values.min() >= 0 and values.max() <= top):
        raise ValueError(f"its grey values are not within 0 and {top:g}")
    return Image.fromarray(np.rint(values * (255.0 / top)).astype(np.uint8))


def _array(image: Image.Image) -> np.ndarray:
    """(H, W, 3); of a large image in strips, since the conversions need several times an image's memory."""
    if image.width * image.height <= LARGE:
        return np.array(_rgb(image))
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    step = max(1, LARGE // 8 // image.width)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        pixels[top:bottom] = np.asarray(_rgb(image.crop((0, top, image.width, bottom))))
    return pixels
