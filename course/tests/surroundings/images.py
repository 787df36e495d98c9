"""Images of all formats and modes, as a folder to train on, as the nearest to generated ones, and as a density."""
import io
import os
import struct
import zlib
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Sequence, Tuple

import numpy as np
from PIL import Image

from course.tests.support import DIFFUSION, GAN, SAMPLE
from course.tests.surroundings import DONE, NEEDS, REFUSED, Case, Word, again, tiny

FORMATS = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP", "gif": "GIF", "webp": "WEBP", "tif": "TIFF", "ppm": "PPM",
           "pgm": "PPM"}
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "I;16B", "F")
USES = {GAN: ("images", "--data_dir"), SAMPLE: ("images", "--nearest"), DIFFUSION: ("", "--dataset")}


def noise(mode: str, side: int = 36) -> Image.Image:
    """An image of smooth noise, dark in the middle."""
    values = 40 + np.random.RandomState(0).rand(side, side) * 100
    values[side // 4:side // 2] *= 0.2
    if mode == "F":
        return Image.fromarray((values / 255).astype(np.float32))
    if mode == "I":
        return Image.fromarray((values * 257).astype(np.int32))
    if mode.startswith("I;16"):
        return Image.frombytes(mode, (side, side), (values * 257).astype(">u2" if mode[-1] == "B" else "<u2").tobytes())
    image = Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if mode == "PA":
        return image.convert("P").convert("PA")
    if mode == "LAB":
        return Image.merge("LAB", image.split())
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def good_images() -> Dict[str, bytes]:
    """What Pillow can write of all formats and modes, and the odd ones of the wild, by file name."""
    files = {}
    for (ending, kind), mode in product(FORMATS.items(), MODES):
        if mode[0] in "IF" and ending not in ("png", "tif", "pgm"):
            continue                                # Pillow would cut the values off at 255
        try:
            files[f"{mode.replace(';', '')}.{ending}"] = encoded(noise(mode), kind)
        except (OSError, ValueError, KeyError):
            pass                                    # no such mode in this format
    exif = Image.Exif()
    for orientation in range(9):
        exif[0x0112] = orientation
        files[f"turned{orientation}.jpg"] = encoded(noise("RGB"), "JPEG", exif=exif)
    files["cut_exif.jpg"] = encoded(noise("RGB"), "JPEG", exif=exif.tobytes()[:-8])
    files["odd_exif.jpg"] = encoded(noise("RGB"), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(9))
    files["exif.png"] = encoded(noise("RGB"), "PNG", exif=exif.tobytes()[:-6])
    files["exif.webp"] = encoded(noise("RGB"), "WEBP", exif=exif.tobytes()[:-6])
    files["NaN.tif"] = encoded(nan_image(), "TIFF")
    files["of_another_format.jpg"] = files["RGB.png"]
    files["of_another_format.tif"] = files["RGB.gif"]
    files["transparent.png"] = encoded(noise("P"), "PNG", transparency=3)
    files["transparent.gif"] = encoded(noise("P"), "GIF", transparency=bytes([0, 255]))
    files["UPPER.JPG"] = files["RGB.jpg"]
    files["wide.png"] = encoded(noise("RGB").resize((2000, 32)), "PNG")
    files["profile.png"] = encoded(noise("RGB"), "PNG", icc_profile=b"no profile")
    files["text.png"] = with_text(files["RGB.png"])
    frames = [noise("L"), noise("L").rotate(90)]
    for ending, kind in (("gif", "GIF"), ("webp", "WEBP"), ("tif", "TIFF"), ("png", "PNG")):
        files[f"frames.{ending}"] = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    files["100_megapixels.png"] = encoded(large((10000, 10000)), "PNG")
    return files


def nan_image() -> Image.Image:
    values = np.array(noise("F"))
    values[0] = np.nan
    return Image.fromarray(values)


def link(target: str, path: Path) -> None:
    path.symlink_to(target)


def large(size: Tuple[int, int]) -> Image.Image:
    """Cheap to make and to pack."""
    image = Image.new("1", size, 1)
    image.paste(0, (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    return image


def with_text(png: bytes) -> bytes:
    """With a chunk of control sequences."""
    chunk = b"tEXtComment\0\x1b[31m\x07"
    return png[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]


def bad_images() -> Dict[str, bytes]:
    """By file name."""
    png, jpg, tif = (encoded(noise("RGB"), kind) for kind in ("PNG", "JPEG", "TIFF"))
    files = {"empty.png": b"", "text.png": b"<svg></svg>\n", "zeros.jpg": bytes(3000),
             "archive.png": b"PK\3\4" + bytes(99), "one_byte.gif": b"G", "header.png": png[:33],
             "header.jpg": jpg[:200], "header.gif": b"GIF89a",
             "bomb.png": png[:16] + struct.pack(">II", 100_000, 100_000) + png[24:29] + struct.pack(
                 ">I", zlib.crc32(png[12:16] + struct.pack(">II", 100_000, 100_000) + png[24:29])) + png[33:],
             "huge.ppm": b"P6 60000 60000 255\n" + bytes(100), "magic.ppm": b"P6", "negative.ppm": b"P6 -5 -5 255\n",
             "letters.ppm": b"P6 a b 255\n" + bytes(99), "cut_directory.tif": tif[:-20], "no_directory.tif": tif[:8],
             "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n"
                               b"(executed) (w) file closefile\nshowpage\n%%EOF\n",
             "checksum.png": png[:60] + bytes([png[60] ^ 255]) + png[61:],
             "riff.webp": b"RIFF\x20\0\0\0WEBPVP8 " + bytes(20)}
    for ending, kind in FORMATS.items():
        data = encoded(noise("RGB"), kind)
        files[f"half.{ending}"] = data[:len(data) // 2]
    return files


SMALL = {"1x1.png": (1, 1), "31.png": (31, 60), "wide.png": (3000, 2), "31.jpg": (60, 31)}


def case(script: str, title: str, name: str, status: Sequence[int], data: bytes = b"", words: Sequence[Word] = (),
         flags: Sequence[str] = (), **more: Any) -> Case:
    """One image: beside others in a folder, or alone as a density."""
    folder, flag = USES[script]
    needs = list(dict.fromkeys([*NEEDS[script], *([folder] if folder else [])]))

    def prepare(cwd: Path) -> None:
        path = cwd / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    more.setdefault("prepare", prepare)
    return tiny(script, f"image {script[:-3]} {title}", f"{flag}={folder or name}", *flags, status=status, needs=needs,
                words=words, **more)


def cases() -> Iterator[Case]:
    for (name, data), script in product(good_images().items(), USES):
        if script == DIFFUSION and not name.endswith((".png", ".tif")) and name[0].isupper():
            continue                                # a run takes long
        if name.startswith("NaN"):                  # to be read without the broken pixels, or refused
            yield case(script, name, name, (0, 2), data)
        else:
            yield case(script, name, name, DONE, data)
    for (name, data), script in product(bad_images().items(), USES):
        yield case(script, f"bad {name}", name, REFUSED, data, words=(name,))
        if script != DIFFUSION:
            yield case(script, f"bad {name} --skip_bad", name, DONE, data, flags=["--skip_bad"], says=(
                (name,) if script == GAN else ()))
    for (name, size), script in product(SMALL.items(), (GAN, SAMPLE)):
        yield case(script, f"small {name}", name, REFUSED, words=(name, "32"), prepare=(
            lambda cwd, name=name, size=size: noise("RGB").resize(size).save(str(cwd / "images" / name))))
    for script in USES:
        for name in "a\nb.png", "\x1b[31m.png", "caf\udce9.png", "a" * 250 + ".png":
            yield case(script, f"bad name {ascii(name)[:20]}", name, REFUSED, b"no image")
    yield from density_cases()
    yield from folder_cases()


def density_cases() -> Iterator[Case]:
    """A density needs pixels of different darkness."""
    for mode, value in ("L", 255), ("L", 0), ("RGB", (9, 9, 9)), ("RGBA", (0, 0, 0, 0)), ("F", 0.5), ("I", 30000):
        yield case(DIFFUSION, f"blank {mode} {value}", "blank.tif", REFUSED, words=("blank.tif",), prepare=(
            lambda cwd, mode=mode, value=value: Image.new(mode, (40, 30), value).save(str(cwd / "blank.tif"))))
    for dtype, factor in ((np.uint8, 1), (np.uint16, 257), (np.int32, 257), (np.int32, 1),
                          (np.float32, 1 / 255), (np.float32, 1)):
        yield case(DIFFUSION, f"bar of {np.dtype(dtype)} times {factor:.3g}", "bar.tif", DONE, prepare=(
            lambda cwd, dtype=dtype, factor=factor: bar(dtype, factor).save(str(cwd / "bar.tif"))))
    yield case(DIFFUSION, "of one pixel", "pixel.png", REFUSED, encoded(Image.new("L", (1, 1)), "PNG"), ["pixel.png"])


def bar(dtype: Any, factor: float) -> Image.Image:
    """A dark bar on white."""
    values = np.full((40, 40), 255.0)
    values[10:30, 15:25] = 20
    return Image.fromarray((values * factor).astype(dtype))


def folder_cases() -> Iterator[Case]:
    """What lies in a folder beside images."""
    png = encoded(noise("RGB"), "PNG")

    def other(title: str, place: str, data: bytes, says: Sequence[Word] = (), **more: Any) -> Iterator[Case]:
        for script in GAN, SAMPLE:
            yield case(script, title, place, DONE, data, says=says if script == GAN else (), **more)

    four = (("4 images", "4 images"),)            # those of the stock and nothing else
    for place in ".hidden/x.png", ".x.png", ".git/a/b.png", "a/.thumbnails/x.png", ".venv/x.png":
        yield from other(f"hidden {place}", place, b"no image", four)
        yield from other(f"hidden and good {place}", place, png, four)
    for ending in "txt", "heic", "psd", "svg", "pdf", "mp4", "zip", "db", "npy", "PNG~", "":
        told = (ending,) if ending in ("heic", "psd", "svg") else ()
        yield from other(f"beside a .{ending}", f"x.{ending}", b"something", (*four, *told))
    for ending, script in product(("avif", "jp2"), (GAN, SAMPLE)):     # not every Pillow reads them
        yield case(script, f"beside a damaged .{ending}", f"x.{ending}", (0, 2), b"something")
    things: Dict[str, Callable[[Path], None]] = {
        "folder": Path.mkdir, "fifo": lambda path: os.mkfifo(str(path)),
        **{f"link to {to}": partial(link, to) for to in ("x.png", "nowhere", "/dev/null", ".")}}
    for (title, make), script in product(things.items(), (GAN, SAMPLE)):
        yield case(script, f"{title} x.png", "x.png", (0, 2), prepare=(
            lambda cwd, make=make: make(cwd / "images" / "x.png")))  # type: ignore[misc]
    for script in GAN, SAMPLE:
        flag = USES[script][1]
        for title, place in ("no image at all", "empty/x.txt"), ("only hidden ones", "empty/.x.png"), (
                "only of other formats", "empty/x.heic"), ("only in hidden folders", "empty/.git/x.png"):
            yield case(script, title, f"../{place}", REFUSED, png, words=("empty",), flags=[f"{flag}=empty"])
    # A run whose folder lies inside its own data does not train on what it has drawn, and can be resumed.
    for place in "results_gan", "images/results":
        data = "." if place == "results_gan" else "images"
        flags = [f"--data_dir={data}", f"--output_dir={place}"]
        more: Dict[str, Any] = {"made": (place,), "says": four}
        first = tiny(GAN, f"image run_gan_training {place} inside the data", *flags, quiet=False, **more)
        yield first._replace(then=again(GAN, *flags, quiet=False, **more))
        yield first._replace(name=f"{first.name}, replaced", then=tiny(
            GAN, "then", *flags, "--overwrite", needs=(), **more))
    yield tiny(SAMPLE, "image sample_gan inside the data", "--nearest=.", needs=(*NEEDS[SAMPLE], "images"),
               then=tiny(SAMPLE, "then", "--nearest=.", needs=()))
