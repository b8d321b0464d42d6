"""Which files are images: by their endings where these are known, else by their first bytes."""

import mimetypes
import os
from functools import cache

from PIL import Image, UnidentifiedImageError, features

from selfsup.data.readers.extras import installed, remedy
from selfsup.data.readers.numbers import HEAD, format_of, open_numpy

# Formats that Pillow opens and that are not pictures of pixels: drawings, scientific containers whose first
# bytes alone it reads, films, and working files that lie beside their exported copies. EPS would make another
# program run its content.
_OTHER = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "PSD", "WMF"}
_CODECS = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}
_FIRST = ("jpg", "jpeg", "png")  # named first where endings are listed

_CONVERT = "convert them to JPEG or PNG, such as by 'magick mogrify -format jpg *.{}'"
# Endings of pictures that a package reads, if it is installed.
_BY_PACKAGE = {
    **dict.fromkeys(("heic", "heif", "hif"), ("HEIF", "pillow_heif")),
    **dict.fromkeys(("dcm", "dicom", "ima"), ("DICOM", "pydicom")),
}
_DECODE = "read them by a function of your own with data.endings=[{}] data.decode=module:function"
# What is known about images that cannot be read here: endings, what they are, what to do.
_PICTURES = (
    ("jxl", "JPEG XL", _CONVERT),
    ("avif avifs webp jp2 j2k jpc jpf jpx j2c", "a format that this Pillow was built without", _CONVERT),
    (
        "arw cr2 cr3 crw dng nef nrw orf pef raf raw rw2 rwl srf sr2 srw x3f 3fr erf iiq kdc mos mrw",
        "a camera's raw data",
        "develop them to JPEG or PNG first, such as by 'dcraw' or 'darktable-cli'",
    ),
    ("exr hdr", "high dynamic range", _DECODE),
    ("psd psb xcf kra ai cdr", "a drawing program's working file", "export them as JPEG or PNG"),
    ("svg svgz eps ps wmf emf", "a drawing", "render them as PNG to use them"),
    ("pdf", "PDF", "extract their images, such as by 'pdfimages'"),
    ("nii nrrd mha mhd mrc czi lif nd2 svs ndpi mrxs fit fits", "a scientific format", _DECODE),
    ("npz", "arrays", _DECODE),
    ("mp4 mov avi mkv webm mpg mpeg wmv m4v 3gp", "video", "extract frames, such as by 'ffmpeg'"),
    ("tar tgz", "an archive", "unpack them, or use data=shards"),
    ("zip 7z rar gz bz2 xz zst", "an archive", "unpack them"),
    ("parquet arrow", "a table of images", "use data=parquet_folder"),
    ("h5 hdf5", "a data base", _DECODE),
    ("tfrecord tfrecords lmdb mdb rec", "a data base", "export the images as files"),
)
_KNOWN = {ending: (what, remedy) for endings, what, remedy in _PICTURES for ending in endings.split()}


@cache
def image_endings() -> tuple[str, ...]:
    """The endings of images, lower case, without the dot: of what Pillow decodes, and of HEIC and DICOM where
    their packages are installed; the most common first.

    >>> [ending in image_endings() for ending in ("jpg", "jfif", "tga", "npy", "pdf")]
    [True, True, True, False, False]
    """
    Image.init()
    # MPO is opened as the JPEG that it begins with.
    formats = {*Image.OPEN, "MPO"} - _OTHER
    formats -= {name for name, codec in _CODECS.items() if not features.check(codec)}
    endings = {ending[1:] for ending, name in Image.registered_extensions().items() if name in formats}
    endings |= {ending for ending, (_, package) in _BY_PACKAGE.items() if installed(package)}
    return (*_FIRST, *sorted(endings - set(_FIRST)))


def ending_of(name: str) -> str:
    """The text after the last dot, lower case; empty if it is not a word, as in ``1.2.840.113``.

    >>> [ending_of(name) for name in ("a.JPG", "README", "1.2.840", "x.tar.gz", "St. Ives")]
    ['jpg', '', '', 'gz', '']
    """
    _, dot, ending = name.rpartition(".")
    word = dot and ending.isalnum() and ending.isascii() and not ending.isdecimal() and len(ending) <= 8
    return ending.lower() if word else ""


def is_image_name(name: str) -> bool:
    """Whether a file's name is that of an image that can be decoded."""
    _, dot, ending = name.rpartition(".")
    return bool(dot) and ending.lower() in _as_set()


@cache
def _as_set() -> frozenset[str]:
    return frozenset(image_endings())


def unread_picture(ending: str) -> str | None:
    """Why files of an ending are not read as images, and the remedy, if they may be pictures; else None."""
    if ending in _as_set():
        return None
    if ending in _BY_PACKAGE:
        what, package = _BY_PACKAGE[ending]
        return f"ending .{ending} ({what}), which needs one more package; {remedy(package)}"
    if ending in _KNOWN:
        what, instead = _KNOWN[ending]
        return f"ending .{ending} ({what}), which cannot be read; {instead.format(ending)}"
    kind, _ = mimetypes.guess_type(f"x.{ending}", strict=False)
    if kind and kind.startswith(("image/", "video/")):
        return f"ending .{ending} ({kind}), which cannot be read; {_CONVERT.format(ending)}"
    return None


def holds_an_image(path: str) -> bool:
    """Whether a file's first bytes are those of a format in `image_endings`, or of an array of a picture."""
    if not os.path.isfile(path):  # opening a pipe would wait for ever
        return False
    try:
        with open(path, "rb") as file:
            kind = format_of(file.read(HEAD))
        if kind == "numpy":
            return open_numpy(path).width > 1
        if kind:
            return True
        with Image.open(path) as image:
            return image.format is not None and image.format not in _OTHER
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        return False
    except Image.DecompressionBombError:
        return True
