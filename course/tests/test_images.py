"""One image file, whatever its format, colour mode and damage: what is read, and that nothing is printed.

Each case is an image of 60 by 40 pixels that is dark at its left and bright at its right, and darker at its top.
"""
import gc
import io
import os
import struct
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from course.tests.support import ROOT
from lib.densities import checksum, get_dataset
from lib.image_folder import read_and_resize
from lib.images import ENDINGS, OTHER_ENDINGS, read_image, to_bytes
from lib.script import UserError

WIDTH, HEIGHT = 60, 40
RAMP = (np.linspace(0, 0.7, WIDTH) + np.linspace(0, 0.3, HEIGHT)[:, None]).clip(0, 1)       # 0 to 1


def grey(path):
    """What is read of a file: H,W brightness from 0 to 1."""
    return np.asarray(read_image(path, 400).convert("L"), dtype=float) / 255


def bytes_of(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def written(image, format, **options):
    """The bytes of an image, unless this Pillow cannot write it, or not read what it wrote."""
    try:
        data = bytes_of(image, format, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(io.BytesIO(data)).load()
        return data
    except (KeyError, OSError):
        pytest.skip("this Pillow does not know such files well enough")


def colour():
    return Image.fromarray(np.round(255 * RAMP).astype(np.uint8)).convert("RGB")


@pytest.fixture(autouse=True, scope="module")
def no_garbage():
    """Collect what other tests have left, such as sockets, whose warnings would come later."""
    gc.collect()


@pytest.fixture(autouse=True)
def nothing_is_printed(capfd):
    """By Python or by a C library, and no warning is issued."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert capfd.readouterr() == ("", "") and [str(warning.message) for warning in caught] == []


# Values of 16 and 32 bits

def values(dtype, low, high):
    return (low + RAMP * (high - low)).astype(dtype)


SCALES = {                                          # an array, and which of its values are black and white
    "16 bits": (values(np.uint16, 0, 65535), 0, 65535), "16 bits, dim": (values(np.uint16, 0, 20000), 0, 65535),
    "16 bits of 8": (values(np.uint16, 0, 255), 0, 255), "16 bits of 12": (values(np.uint16, 0, 4095), 0, 4095),
    "32 bits of 8": (values(np.int32, 0, 255), 0, 255), "32 bits of 8, dim": (values(np.int32, 0, 100), 0, 255),
    "32 bits of 16": (values(np.int32, 0, 65535), 0, 65535), "32 bits": (values(np.int32, 0, 2 ** 31 - 1), 0, 2 ** 31),
    "20 bits": (values(np.int32, 0, 10 ** 6), 0, 10 ** 6), "two values": (values(np.int32, 0, 1.5), 0, 1),
    "signed": (values(np.int32, -30000, 30000), -30000, 30000), "a little signed": (values(np.int32, -9, 255), 0, 255),
    "negative": (values(np.int32, -500, -100), -500, -100),
    "floats to 1": (values(np.float32, 0, 1), 0, 1), "floats to 0.3": (values(np.float32, 0, 0.3), 0, 1),
    "floats above 1": (values(np.float32, 0, 1.1), 0, 1), "floats to 4": (values(np.float32, 0, 4), 0, 4),
    "floats to 255": (values(np.float32, 0, 255), 0, 255), "floats above 255": (values(np.float32, -3, 260), 0, 255),
    "floats to 65535": (values(np.float32, 0, 65535), 0, 65535),
    "floats to 1e30": (values(np.float32, 0, 1e30), 0, 1e30),
    "floats to 1e-30": (values(np.float32, 0, 1e-30), 0, 1e-30),
    "floats from -1 to 1": (values(np.float32, -1, 1), -1, 1)}


@pytest.mark.parametrize("name", SCALES)
def test_scale_of_values(tmp_path, name):
    """Within a step of 255 of what is expected, for TIFF and both uses."""
    array, black, white = SCALES[name]
    expected = ((array.astype(float) - black) / (white - black)).clip(0, 1)
    path = tmp_path / "a.tif"
    Image.fromarray(array).save(str(path))
    assert np.abs(grey(path) - expected).max() < 1 / 254
    assert np.abs(read_and_resize(path, HEIGHT)[..., 0] / 255 - expected).max() < 1 / 254
    assert_is_density_of(path, expected)


def assert_is_density_of(path, brightness):
    """20,000 points: their mean lies within six standard errors of the density's."""
    points = get_dataset(str(path), 20_000, np.random.default_rng(0)).astype(float)
    darkness = 1 - brightness
    column, row = np.meshgrid(np.arange(WIDTH) + 0.5 - WIDTH / 2, HEIGHT / 2 - np.arange(HEIGHT) - 0.5)
    place = np.stack([column, row]) * 3 / WIDTH
    mean = (place * darkness).sum((1, 2)) / darkness.sum()
    deviation = np.sqrt(((place - mean[:, None, None]) ** 2 * darkness).sum((1, 2)) / darkness.sum())
    assert (np.abs(points.mean(0) - mean) < 6 * deviation / np.sqrt(20_000) + 0.005).all(), (points.mean(0), mean)


@pytest.mark.parametrize("file", ("a.png", "a.tif", "a.pgm", "a.tif big-endian"))
def test_sixteen_bits_in_each_format(tmp_path, file):
    array, path = values(np.uint16, 0, 65535), tmp_path / file.split()[0]
    if "big" in file:
        Image.frombytes("I;16B", (WIDTH, HEIGHT), array.astype(">u2").tobytes()).save(str(path))
    elif file == "a.pgm":
        path.write_bytes(b"P5 60 40 65535\n" + array.astype(">u2").tobytes())
    else:
        Image.fromarray(array).save(str(path))
    assert np.abs(grey(path) - RAMP).max() < 1 / 254
    assert_is_density_of(path, RAMP)


def test_float_map(tmp_path):
    (tmp_path / "a.pfm").write_bytes(b"Pf\n60 40\n-1.0\n" + RAMP[::-1].astype("<f4").tobytes())
    assert np.abs(grey(tmp_path / "a.pfm") - RAMP).max() < 1 / 254


@pytest.mark.parametrize("low, high", ((0, 1), (0, 255), (-1, 1)))
def test_floats_that_are_no_numbers(tmp_path, low, high):
    array = values(np.float32, low, high)
    array[3, 3:6] = np.nan, np.inf, -np.inf
    Image.fromarray(array).save(str(tmp_path / "a.tif"))
    expected = RAMP.copy()
    expected[3, 3:6] = 1, 1, 0
    assert np.abs(grey(tmp_path / "a.tif") - expected).max() < 1 / 254
    assert_is_density_of(tmp_path / "a.tif", expected)


@pytest.mark.parametrize("value", (0, 0.5, 1, 7, 255, 1e38, -1e38, -1, np.nan, np.inf, -np.inf))
def test_values_that_are_all_the_same(value):
    image = to_bytes(np.full((5, 6), value, np.float32))
    assert image.dtype == np.uint8 and image.shape == (5, 6) and (image == image[0, 0]).all()


# Colour modes, transparency, frames, orientation

FORMATS = {"PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK",
           "YCbCr", "LAB", "I;16", "I", "F"), "JPEG": ("L", "RGB", "CMYK", "YCbCr"), "GIF": ("L", "P", "RGB"),
           "WEBP": ("RGB", "RGBA"), "BMP": ("1", "L", "P", "RGB"), "PPM": ("1", "L", "RGB"),
           "JPEG2000": ("L", "LA", "RGB", "RGBA"), "AVIF": ("RGB", "RGBA")}


def in_mode(mode):
    if mode == "LAB":                               # Pillow converts to none; a and b are 0 at 128
        lightness = Image.fromarray(np.round(255 * RAMP).astype(np.uint8))
        return Image.merge("LAB", [lightness, *[Image.new("L", lightness.size, 128)] * 2])
    if mode in ("I;16", "I", "F"):
        return Image.fromarray(values({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode], 0, 65535))
    return colour().quantize(256) if mode == "P" else colour().convert(mode)


@pytest.mark.parametrize("format, mode", [(format, mode) for format in FORMATS for mode in FORMATS[format]])
def test_formats_and_modes(tmp_path, format, mode):
    path = tmp_path / "a.jpg"                       # the name does not decide
    path.write_bytes(written(in_mode(mode), format))
    expected = RAMP
    if mode == "LAB":                               # CIE 1976 lightness to linear light, and that to sRGB
        light = np.where(RAMP > 0.08, ((100 * RAMP + 16) / 116) ** 3, 100 * RAMP / 903.3)
        expected = np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    error = grey(path) - expected
    if mode == "1":                                 # dots, whose mean counts
        error = error.reshape(4, 10, 6, 10).mean((1, 3))
    assert np.abs(error).mean() < (0.06 if mode == "1" else 0.02), np.abs(error).mean()
    assert read_and_resize(path, 32).shape == (32, 48, 3)


@pytest.mark.parametrize("format, mode", (("PNG", "RGBA"), ("PNG", "LA"), ("TIFF", "RGBA"), ("WEBP", "RGBA"),
                                          ("PNG", "P"), ("GIF", "P"), ("PNG", "L")))
def test_transparent_pixels(tmp_path, format, mode):
    """The left half is transparent: white in an image to train on, empty in a density."""
    if mode in ("P", "L"):
        image = Image.fromarray(np.repeat([[3, 60]], 30, axis=1).repeat(40, axis=0).astype(np.uint8))
        if mode == "P":
            image.putpalette([value for value in range(256) for _ in range(3)])
        data = bytes_of(image, format, transparency=3)
    else:
        image = Image.new("RGBA", (60, 40), (60, 60, 60, 255))
        image.paste((3, 3, 3, 0), (0, 0, 30, 40))
        data = bytes_of(image.convert(mode), format, **({"lossless": True} if format == "WEBP" else {}))
    (tmp_path / "a.png").write_bytes(data)
    read = read_and_resize(tmp_path / "a.png", 40)
    assert (read[:, :30] == 255).all() and (read[:, 30:] == 60).all()
    assert get_dataset(str(tmp_path / "a.png"), 1000, np.random.default_rng(0))[:, 0].min() >= 0


@pytest.mark.parametrize("format", ("GIF", "TIFF", "PNG", "WEBP", "MPO"))
def test_first_frame_counts(tmp_path, format):
    data = written(colour(), format, save_all=True, append_images=[Image.new("RGB", (60, 40), "white")] * 2)
    (tmp_path / "a.png").write_bytes(data)
    assert np.abs(grey(tmp_path / "a.png") - RAMP).mean() < 0.02


TURNED = {1: RAMP, 2: RAMP[:, ::-1], 3: RAMP[::-1, ::-1], 4: RAMP[::-1], 5: RAMP.T, 6: RAMP.T[:, ::-1],
          7: RAMP.T[::-1, ::-1], 8: RAMP.T[::-1]}


@pytest.mark.parametrize("orientation", [*TURNED, 0, 9, 77])
@pytest.mark.parametrize("format, mode", (("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "I;16"), ("TIFF", "RGB"),
                                          ("TIFF", "I;16"), ("TIFF", "F"), ("WEBP", "RGB")))
def test_orientation(tmp_path, format, mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a.jpg").write_bytes(bytes_of(in_mode(mode), format, exif=exif))
    expected, got = TURNED.get(orientation, RAMP), grey(tmp_path / "a.jpg")
    assert got.shape == expected.shape and np.abs(got - expected).mean() < 0.02


# Damage

def assert_read_or_refused(path):
    """Both uses; returns what is said where it is refused."""
    said = []
    try:
        assert read_image(path, 32).mode in ("RGB", "RGBA")
    except ValueError as error:
        said.append(str(error))
    try:
        get_dataset(str(path), 10)
    except UserError as error:
        assert str(path) in str(error)
        said.append(str(error).replace(str(path), ""))
    assert all(line and len(line) < 200 and line.isprintable() for line in said), said
    return said


def exif_block():
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "a camera", 0x0132: "2024:01:01 00:00:00", 0x011A: 72.0})
    exif.get_ifd(0x8769)[0x9286] = b"hello"
    return exif.tobytes()


@pytest.mark.parametrize("format", ("JPEG", "PNG", "WEBP"))
def test_cut_exif_block_is_no_reason_to_refuse(tmp_path, format):
    block = exif_block()
    for end in range(6, len(block), 3):
        for junk in (b"", b"\xff" * 30):
            (tmp_path / "a.jpg").write_bytes(bytes_of(colour(), format, exif=block[:end] + junk))
            assert sorted(grey(tmp_path / "a.jpg").shape) == [40, 60]


DAMAGES: Any = [*((format, {}) for format in ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP")), *(
    ("TIFF", {"compression": name}) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"))]


@pytest.mark.parametrize("format, options", DAMAGES, ids=["-".join([f, *o.values()]) for f, o in DAMAGES])
def test_cut_and_changed_files(tmp_path, format, options):
    """40 cuts and 60 changes of each: read or refused in a line, and nothing else."""
    random = np.random.RandomState(0)
    noise = Image.fromarray(random.randint(0, 256, (40, 60, 3)).astype(np.uint8))
    data, path, refused = bytes_of(noise, format, **options), tmp_path / "a.png", 0
    for cut in np.linspace(0, len(data) - 1, 40).astype(int):
        path.write_bytes(data[:cut])
        refused += bool(assert_read_or_refused(path))
    assert refused > 20
    for number in range(60):
        changed = bytearray(data)
        ends = (200, len(data), len(data))[number % 3]
        for place in random.randint(0, ends, 8):
            changed[place] = random.randint(256)
        if format == "TIFF" and number % 3 == 1:    # its directory is at the end or at the beginning
            changed[-150:-100] = random.bytes(50)
        path.write_bytes(changed)
        assert_read_or_refused(path)


def png_of_size(width, height):
    """A PNG that states a size and has no pixels."""
    import zlib
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"")),
              (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(body)) + kind + body + struct.pack(
        ">I", zlib.crc32(kind + body)) for kind, body in chunks)


REFUSED = {
    "bomb": (png_of_size(20000, 20000), "400000000 pixels"),
    "bomb of one row": (png_of_size(2 ** 31 - 1, 1), "2147483647 pixels"),
    "no width": (png_of_size(0, 10), ""), "no height": (png_of_size(10, 0), ""),
    "PPM of no size": (b"P6 0 0 255\n", ""),
    "GIF of no size": (b"GIF89a" + bytes(7) + b",\0\0\0\0\0\0\0\0\0\2\0;", ""),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n", "format"),
    "PDF": (b"%PDF-1.4\n%%EOF\n", "format"), "text": (b"no image", "format"), "empty": (b"", "format"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "format"), "PSD": (b"8BPS\0\1" + bytes(50), "format"),
    "ICO": (bytes_of(Image.new("RGB", (32, 32)), "ICO"), "format")}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path, name, monkeypatch):
    """No other program is started for it."""
    data, word = REFUSED[name]
    monkeypatch.setattr(subprocess, "Popen", None)
    (tmp_path / "a.jpg").write_bytes(data)
    said = assert_read_or_refused(tmp_path / "a.jpg")
    assert len(said) == 2 and all(word in line for line in said), said


@pytest.mark.parametrize("make, word", (
    (lambda path: path.mkdir(), "file"), (lambda path: os.mkfifo(str(path)), "file"),
    (lambda path: path.symlink_to("nowhere"), "No such file"), (lambda path: path.symlink_to(path.name), "link"),
    (lambda path: path.symlink_to("/proc/self/mem"), "error")), ids=("folder", "pipe", "no", "loop", "unreadable"))
def test_what_is_no_file(tmp_path, make, word):
    make(tmp_path / "a.png")
    with pytest.raises(ValueError) as caught:
        read_image(tmp_path / "a.png", 32)
    assert word in str(caught.value)


def test_large_image_is_read(tmp_path):
    """100 megapixels, more than Pillow reads without a warning."""
    large = Image.new("L", (10000, 10000), 255)
    large.paste(0, (0, 0, 5000, 10000))
    large.save(str(tmp_path / "a.png"), compress_level=1)
    assert get_dataset(str(tmp_path / "a.png"), 1000, np.random.default_rng(0))[:, 0].max() < 0.01
    read = read_and_resize(tmp_path / "a.png", 32)
    assert read.shape == (32, 32, 3) and read[:, :15].max() == 0 and read[:, 17:].min() == 255


PROGRAM = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from lib.images import read_image; read_image('a.tif', 9)"


def test_tiff_with_too_many_samples_logs_nothing(tmp_path):
    """Pillow logs an error, which Python prints where logging is not set up: in a process of its own."""
    image = bytearray(bytes_of(colour(), "TIFF"))
    place = image.index(struct.pack("<HHI", 277, 3, 1)) + 8                # samples per pixel
    image[place:place + 2] = struct.pack("<H", 99)
    (tmp_path / "a.tif").write_bytes(image)
    done = subprocess.run([sys.executable, "-W", "always", "-c", PROGRAM], cwd=str(tmp_path), stderr=subprocess.PIPE,
                          universal_newlines=True)
    assert done.stderr.startswith("Traceback"), done.stderr


def test_stderr_that_is_closed(tmp_path):
    (tmp_path / "a.tif").write_bytes(bytes_of(colour(), "TIFF", compression="tiff_lzw"))
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" 2>&-', sys.executable, PROGRAM], cwd=str(tmp_path))
    assert done.returncode == 0


def test_endings_do_not_overlap():
    assert not set(ENDINGS) & set(OTHER_ENDINGS) and ".heic" in OTHER_ENDINGS
    assert (".avif" in ENDINGS) != (".avif" in OTHER_ENDINGS)


def test_both_spellings_of_a_path_and_the_checksum(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    colour().save("cat.png")
    one, other = (get_dataset(name, 100, np.random.default_rng(0)) for name in ("cat.png", "./cat.png"))
    assert np.array_equal(one, other) and checksum("cat.png") == checksum("./cat.png")
    before = checksum("cat.png")
    Image.new("RGB", (60, 40)).save("cat.png")
    assert checksum("cat.png") != before
    with pytest.raises(UserError, match="dog.png cannot be read: No such file"):
        checksum("dog.png")
