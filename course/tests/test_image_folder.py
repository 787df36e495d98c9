"""Images of a folder: whatever their format and colours, cut out as they should be."""
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from course.tests.support import ROOT
from lib.files import ANY, Folder
from lib.image_folder import Images, load_images, read_and_resize
from lib.images import OTHER_ENDINGS
from lib.script import UserError


@pytest.fixture
def images():
    """Ten images of 6 pixels and more, whose red tells the image, green the row and blue the column."""
    images = []
    for number in range(10):
        height, width = (6, 6 + number) if number % 2 else (6 + number, 6)
        rows, columns = np.mgrid[:height, :width]
        images.append(np.stack([np.full_like(rows, 20 * number), rows, columns], axis=-1).astype(np.uint8))
    return Images(images)


def numbers(squares):
    """From [-1, 1] back to bytes: B,3,H,W in int64."""
    return ((squares + 1) * 127.5).round().long()


def gradient(width, height):
    """An RGB image that is dark at its top left and reddish at its right."""
    rows, columns = np.mgrid[:height, :width]
    values = np.stack([255 * columns / (width - 1), 120 * rows / (height - 1), 40 + 0 * rows], axis=-1)
    return Image.fromarray(values.astype(np.uint8))


# Cutting out

def test_crop_takes_the_square_that_was_asked_for(images):
    index = torch.tensor([3, 8, 8, 0])
    top_left = torch.tensor([[0, 2], [5, 0], [8, 0], [0, 0]])
    squares = images.crop(index, top_left, torch.tensor([False, False, True, True]))
    assert squares.shape == (4, 3, 6, 6) and squares.dtype == torch.float32
    for square, number, (top, left), mirrored in zip(numbers(squares), index, top_left, (0, 0, 1, 1)):
        columns = torch.arange(6).flip(0) if mirrored else torch.arange(6)
        assert (square[0] == 20 * number).all()
        assert (square[1] == (top + torch.arange(6))[:, None]).all() and (square[2] == left + columns).all()


def test_at_goes_from_one_end_to_the_other(images):
    for part in (0, 0.5, 1):
        squares = numbers(images.crop_at(part))
        for number, square in enumerate(squares):
            start = int(part * number)
            assert square[2 if number % 2 else 1].min() == start, (part, number)


def test_augmented_is_central_or_anywhere_and_mirrored_or_not(images):
    """Of 4,000 squares half should be mirrored, and half and a tenth in the middle; six standard errors are 0.05."""
    torch.manual_seed(0)
    squares = numbers(images.sample_crops(torch.full((4000,), 9)))           # its room is 9, the middle is at 4
    left = squares[:, 2].amin((1, 2))
    assert sorted(left.unique().tolist()) == list(range(10)) and (squares[:, 1, :, 0] == torch.arange(6)).all()
    assert abs((squares[:, 2, 0, 0] > squares[:, 2, 0, 1]).float().mean() - 0.5) < 0.05
    assert abs((left == 4).float().mean() - 0.55) < 0.05
    counts = torch.bincount(left)[[0, 1, 2, 3, 5, 6, 7, 8, 9]].float() / 4000
    assert (counts - 0.05).abs().max() < 0.021


def test_an_epoch_has_every_image_once_in_a_new_order(images):
    torch.manual_seed(0)
    orders = []
    for _ in range(2):
        batches = list(images.batches(4))
        assert [len(batch) for batch in batches] == [4, 4, 2]
        orders.append((numbers(torch.cat(batches))[:, 0, 0, 0] // 20).tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10)) and orders[0] != orders[1]


# Reading

def save(image, path, **options):
    image.save(str(path), **options)
    return path


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (50, 50), (32, 32), (33, 200)])
def test_shorter_side_becomes_32(tmp_path, size):
    image = read_and_resize(save(gradient(*size), tmp_path / "a.png"), 32)
    assert image.dtype == np.uint8 and min(image.shape[:2]) == 32
    assert image.shape[1] / image.shape[0] == pytest.approx(size[0] / size[1], rel=0.03)
    assert abs(image[:, -1, 0].mean() - 255) < 8 and image[:, 0, 0].mean() < 8


MODES = {
    "grey": ("L", "a.png"), "grey JPEG": ("L", "a.jpg"), "palette": ("P", "a.gif"), "CMYK": ("CMYK", "a.jpg"),
    "RGBA": ("RGBA", "a.png"), "grey with alpha": ("LA", "a.png"), "TIFF": ("RGB", "a.TIFF"), "WebP": ("RGB", "a.webp"),
    "BMP": ("RGB", "a.bmp"), "two colours": ("1", "a.png")}


@pytest.mark.parametrize("name", MODES)
def test_colour_modes_and_formats(tmp_path, name):
    mode, file = MODES[name]
    save(gradient(64, 48).convert(mode), tmp_path / file)
    images = load_images(tmp_path)
    brightness = images.crop_at(0.5).mean(1)[0]
    assert len(images) == 1 and brightness[:, 26:].mean() > brightness[:, :6].mean() + 0.25
    if "grey" not in name and name != "two colours":
        square = images.crop_at(0.5)[0]
        assert square[0, :, 26:].mean() > square[2, :, 26:].mean() + 0.8, "no red at the right"


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path):
    values = np.linspace(0, 65535, 40 * 40).reshape(40, 40).astype(np.uint16)
    image = read_and_resize(save(Image.fromarray(values), tmp_path / "a.png"), 32).astype(float)
    assert image.mean() == pytest.approx(127.5, abs=2) and image.min() < 6 and image.max() > 249


def test_floats_from_0_to_1(tmp_path):
    values = np.linspace(0, 1, 40 * 40, dtype=np.float32).reshape(40, 40)
    image = read_and_resize(save(Image.fromarray(values), tmp_path / "a.tiff"), 32).astype(float)
    assert image.mean() == pytest.approx(127.5, abs=2) and image.min() < 6 and image.max() > 249


def test_what_is_transparent_shows_white(tmp_path):
    image = gradient(40, 40)
    image.putalpha(Image.fromarray(np.repeat([0, 255], 20).astype(np.uint8)[:, None] + np.zeros((40, 40), np.uint8)))
    read = read_and_resize(save(image, tmp_path / "a.png"), 32)
    assert (read[:14] == 255).all() and read[18:, :4, 0].max() < 60


def test_a_camera_held_upright(tmp_path):
    image = gradient(60, 40)
    exif = image.getexif()
    exif[0x0112] = 6                                # turn by a quarter, clockwise
    read = read_and_resize(save(image, tmp_path / "a.jpg", exif=exif), 32)
    assert read.shape[0] > read.shape[1] and read[-1, :, 0].mean() > 230 and read[0, :, 0].mean() < 30


def test_folders_within_folders_and_no_hidden_files(tmp_path):
    for place in ("a.png", "x/b.png", "x/y/z/c.JPG"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        save(gradient(32, 32), tmp_path / place)
    (tmp_path / "._a.png").write_bytes(b"a Mac leaves such")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "readme.txt").write_text("no image")
    assert len(load_images(tmp_path)) == 3


def images_at(folder, *places):
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        save(gradient(32, 32), folder / place)


def test_hidden_folders_and_those_of_the_system_are_left_out(tmp_path):
    """Also below class folders; but a hidden folder that is named itself is read."""
    images_at(tmp_path, "a/1.png", "a/.thumbnails/2.png", ".venv/lib/3.png", ".git/4.png", "__MACOSX/a/5.png",
              "a/@eaDir/6.png", ".7.png")
    assert len(load_images(tmp_path)) == 1 and len(load_images(tmp_path / ".venv")) == 1


def test_links_are_entered_once(tmp_path):
    """Class folders and images elsewhere; no folder is read twice, and no link leads back to where it came from."""
    images_at(tmp_path, "elsewhere/red/1.png", "elsewhere/red/deep/2.png", "elsewhere/3.png", "photos/a/4.png", "5.png")
    photos = tmp_path / "photos"
    for link, target in (("red", tmp_path / "elsewhere" / "red"), ("again", tmp_path / "elsewhere" / "red"),
                         ("a/loop", photos), ("a/self", photos / "a"), ("up", tmp_path), ("root", "/"),
                         ("3.png", tmp_path / "elsewhere" / "3.png")):
        (photos / link).symlink_to(target)
    assert len(load_images(photos)) == 4
    (tmp_path / "link").symlink_to("photos")
    assert len(load_images(tmp_path / "link")) == 4


@pytest.mark.parametrize("make, reason", (
    (lambda path: path.symlink_to("nowhere"), "No such file"),
    (lambda path: path.symlink_to(path.name), "symbolic links"),
    (lambda path: os.mkfifo(str(path)), "regular file")), ids=("broken link", "link to itself", "pipe"))
def test_image_that_is_no_file(tmp_path, make, reason, capsys):
    images_at(tmp_path, "a.png")
    make(tmp_path / "b.png")
    with pytest.raises(UserError, match=f"b.png.*{reason}.*--skip_bad"):
        load_images(tmp_path)
    assert len(load_images(tmp_path, skip_bad=True)) == 1 and "skipped 1 of 2" in capsys.readouterr().out


def test_folder_that_cannot_be_read(tmp_path, monkeypatch, capsys):
    """Root may read all folders: os.scandir refuses in place of the system."""
    images_at(tmp_path, "a/1.png", "b/2.png")
    scandir = os.scandir

    def refusing(path):
        if os.path.basename(str(path)) == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UserError, match="the folder .*b cannot be used .Permission denied.*--skip_bad"):
        load_images(tmp_path)
    assert len(load_images(tmp_path, skip_bad=True)) == 1 and "skipped 1 of 2" in capsys.readouterr().out


# Folders of runs

def test_folders_of_runs_are_left_out(tmp_path, capsys):
    images_at(tmp_path, "a/1.png", "results/2.png", "a/results/deep/3.png", "half/4.png")
    for folder in ("results", "a/results"):
        for name in ("checkpoint.pt", "metrics.csv"):
            (tmp_path / folder / name).write_bytes(b"")
    (tmp_path / "half" / "metrics.csv").write_bytes(b"")
    assert len(load_images(tmp_path)) == 2
    assert len(load_images(tmp_path, leave_out=[tmp_path / "half", tmp_path / "missing"])) == 1
    assert len(load_images(tmp_path / "a", leave_out=[tmp_path])) == 1    # images may lie in the folder of a run
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("spelling", ("out", "./out", "../photos/out", "link", "absolute"))
def test_left_out_however_it_is_spelled(tmp_path, monkeypatch, spelling):
    images_at(tmp_path, "photos/a/1.png", "photos/out/2.png", "photos/out/deep/3.png")
    monkeypatch.chdir(tmp_path / "photos")
    (tmp_path / "photos" / "link").symlink_to("out")
    folder = tmp_path / "photos" / "out" if spelling == "absolute" else Path(spelling)
    for data_dir in (".", tmp_path / "photos", "../photos"):
        assert len(load_images(data_dir, leave_out=[folder])) == 1


def test_all_images_in_folders_of_runs(tmp_path):
    images_at(tmp_path, "results/2.png")
    with pytest.raises(UserError, match="contains no images except in run folders, which are skipped") as error:
        load_images(tmp_path, leave_out=[tmp_path / "results"])
    assert str(tmp_path / "results") in str(error.value)


def test_a_run_in_the_images_own_folder_leaves_out_what_it_has_written(tmp_path):
    images_at(tmp_path, "1.png", "a/2.png", "loss_curves.png")
    for name in "checkpoint.pt", "metrics.csv":
        (tmp_path / name).write_bytes(b"")
    Folder(tmp_path, "run").note(tmp_path / "loss_curves.png", ANY)
    assert len(load_images(tmp_path, leave_out=[tmp_path])) == 2


# Formats that cannot be read

def test_formats_that_cannot_be_read_are_counted(tmp_path, capsys):
    images_at(tmp_path, "a/1.png")
    for name in ("a.heic", "b.HEIC", "c/d.heic", "e.svg", "f.cr2", "notes.txt", ".hidden.heic", "film.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"0")
    assert len(load_images(tmp_path)) == 1
    assert capsys.readouterr().out.splitlines() == [
        "skipped 5 image files in unsupported formats (.heic 3, .svg 1, .cr2 1)"]
    (tmp_path / "a" / "1.png").unlink()
    with pytest.raises(UserError, match=r"contains no images, only image files .* \(.heic 3, .svg 1, .cr2 1\)"):
        load_images(tmp_path)


@pytest.mark.parametrize("ending", OTHER_ENDINGS)
def test_each_of_these_endings_is_counted(tmp_path, ending):
    (tmp_path / f"a{ending}").write_bytes(b"0")
    with pytest.raises(UserError, match=f"[(]{ending} 1[)]"):
        load_images(tmp_path)


# What cannot be used

BAD = {"damaged": b"", "text": b"no image at all"}


def bad_folder(folder, kind):
    save(gradient(40, 40), folder / "a.png")
    path = folder / "b.png"
    if kind == "cut short":
        noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
        save(Image.fromarray(noise), path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "too small":
        save(gradient(40, 31), path)
    else:
        path.write_bytes(BAD[kind])
    return path


@pytest.mark.parametrize("kind", [*BAD, "cut short", "too small"])
def test_bad_image_is_named_or_left_out(tmp_path, kind, capsys):
    path = bad_folder(tmp_path, kind)
    with pytest.raises(UserError) as error:
        load_images(tmp_path)
    assert str(path) in str(error.value) and "--skip_bad" in str(error.value) and "\n" not in str(error.value)
    if kind == "too small":
        assert "40 by 31 pixels" in str(error.value)
    assert len(load_images(tmp_path, skip_bad=True)) == 1
    said = capsys.readouterr().out
    assert "skipped 1 of 2" in said and str(path) in said
    Path(tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match="b.png"):
        load_images(tmp_path, skip_bad=True)


def test_line_ends_in_names(tmp_path, capsys):
    images_at(tmp_path, "a.png")
    (tmp_path / "b\nc\x1b[1m.png").write_bytes(b"")
    with pytest.raises(UserError) as error:
        load_images(tmp_path)
    assert str(error.value).isprintable()
    load_images(tmp_path, skip_bad=True)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_folder_that_lies_beside_the_scripts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no folder dataset_flowers_64px in the working directory.*run the scripts"
                       ) as error:
        load_images("dataset_flowers_64px")
    assert str(ROOT) in str(error.value)


@pytest.mark.parametrize("name, word", [("empty", "contains no images"), ("missing", "there is no folder")])
def test_no_images(tmp_path, name, word):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{word}.*choose (a folder|one) that contains images"):
        load_images(tmp_path / name)
