"""Reading one image file of any format and colour mode, for training or as a density."""
import io
import logging
import os
import stat
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, Tuple, Union

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from lib.script import in_one_line

FORMATS: Dict[str, Tuple[str, ...]] = {             # Pillow's names; only these are opened, whatever a file's name
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "PNG": (".png", ".apng"), "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"), "BMP": (".bmp", ".dib"), "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "WEBP": (".webp",), "AVIF": (".avif", ".avifs"), "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc")}
MAX_BYTES = 2 ** 30
OPTIONAL = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}         # not every build of Pillow has these
OTHER_ENDINGS: Tuple[str, ...] = (                  # also images, but of formats that Pillow cannot read
    ".heic", ".heif", ".hif", ".jxl", ".jxr", ".jls", ".bpg", ".svg", ".svgz", ".eps", ".ai", ".psd", ".psb", ".xcf",
    ".exr", ".hdr", ".tga", ".ico", ".icns", ".pcx", ".dds", ".qoi", ".wmf", ".emf", ".fits", ".raw", ".dng", ".cr2",
    ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srw", ".orf", ".rw2", ".raf", ".pef")
TURNS = {                                           # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90}


@contextmanager
def no_warnings() -> Iterator[None]:
    """Silence Pillow's warnings about tags, EXIF blocks and sizes, which do not help the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def no_stderr() -> Iterator[None]:
    """Silence messages that a C library writes to file descriptor 2, as libtiff does for damaged files."""
    try:
        kept = os.dup(2)
    except OSError:                                 # stderr is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


logging.getLogger("PIL").addHandler(logging.NullHandler())      # otherwise Python prints its errors
with no_warnings():                                 # older versions of Pillow warn about unknown names
    for _name, _feature in OPTIONAL.items():
        OTHER_ENDINGS += () if features.check(_feature) else FORMATS.pop(_name)
ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)


def read_image(path: Union[str, Path], min_side: int) -> Image.Image:
    """Read an image file upright, as RGB, or as RGBA if it has transparency. Of several frames, read the first.

    Args:
        min_side: a large JPEG may be decoded at a smaller size, but not below twice this side length.

    Raises:
        ValueError: the file cannot be read; the message gives the reason in one line, without the path.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):        # reading a pipe might never end
            raise ValueError("it is not a regular file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES // 2 ** 20} MB")
        with open(path, "rb") as file:              # completely: Pillow swaps the sides of some TIFFs that it maps
            data = io.BytesIO(file.read())
        with no_warnings(), Image.open(data, formats=list(FORMATS)) as image:
            image.draft(None, (2 * min_side, 2 * min_side))         # let the JPEG decoder downscale large files
            if image.format == "TIFF":
                with no_stderr():
                    image.load()
            else:
                image.load()
            if not min(image.size):
                raise ValueError("it has no pixels")
            return _as_rgb(_apply_exif_orientation(image))
    except UnidentifiedImageError:
        raise ValueError("it is damaged or not in a supported image format") from None
    except Exception as error:                      # Pillow raises many kinds
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise ValueError(in_one_line(reason)) from error


def _apply_exif_orientation(image: Image.Image) -> Image.Image:
    try:
        turn = TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:                               # the pixels are still fine if the EXIF block is damaged
        turn = None
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):           # convert() would clip these at 255
        return Image.fromarray(to_bytes(np.asarray(image))).convert("RGB")
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    mode = "RGBA" if transparent else "RGB"
    return image if image.mode == mode else image.convert(mode)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Scale H,W grey values of 16 or 32 bits to uint8.

    A file does not say which values are black and white, so its values decide:

    * White is 1 (floats only), 255 or 65535: the smallest of these that no value exceeds. Floats may exceed it by half,
      as they do after resampling.
    * White is the highest value if all of these are too small, or if it is below a sixteenth of white, as in 12-bit
    data. * Black is 0, and negative values are black, unless the lowest value is below minus half the highest, as in
    data from
      -1 to 1: then the lowest value is black and the highest white.
    * NaN, which marks missing values, is white, like transparent pixels on paper. Infinities are white and black.
    """
    is_float = values.dtype.kind == "f"
    finite = values[np.isfinite(values)] if is_float else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    black, white = 0.0, high
    if low < -max(high, 0) / 2:
        black = low
    else:
        fitting = [usual for usual in ((1, 255, 65535) if is_float else (255, 65535))
                   if high <= usual * (1.5 if is_float else 1)]
        if fitting and not 0 < high < fitting[0] / 16:
            white = float(fitting[0])
    scaled = np.empty(values.shape, np.uint8)
    for row, numbers in zip(scaled, values):        # row by row: a large image in float64 needs a lot of memory
        numbers = np.nan_to_num(numbers.astype(np.float64), nan=white, posinf=white, neginf=black).clip(black, white)
        row[:] = np.rint((numbers - black) / max(white - black, 1e-300) * 255)
    return scaled
