"""Pictures of a folder: whatever their format and colours, cut out as they should be."""
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.image_folder import Pictures, load_pictures, read_picture
from lib.script import UserError


@pytest.fixture
def pictures():
    """Ten pictures of 6 pixels and more, whose red tells the picture, green the row and blue the column."""
    images = []
    for number in range(10):
        height, width = (6, 6 + number) if number % 2 else (6 + number, 6)
        rows, columns = np.mgrid[:height, :width]
        images.append(np.stack([np.full_like(rows, 20 * number), rows, columns], axis=-1).astype(np.uint8))
    return Pictures(images)


def numbers(squares):
    """From [-1, 1] back to bytes: B,3,H,W in int64."""
    return ((squares + 1) * 127.5).round().long()


def gradient(width, height):
    """An RGB picture that is dark at its top left and reddish at its right."""
    rows, columns = np.mgrid[:height, :width]
    values = np.stack([255 * columns / (width - 1), 120 * rows / (height - 1), 40 + 0 * rows], axis=-1)
    return Image.fromarray(values.astype(np.uint8))


# Cutting out

def test_crop_takes_the_square_that_was_asked_for(pictures):
    index = torch.tensor([3, 8, 8, 0])
    top_left = torch.tensor([[0, 2], [5, 0], [8, 0], [0, 0]])
    squares = pictures.crop(index, top_left, torch.tensor([False, False, True, True]))
    assert squares.shape == (4, 3, 6, 6) and squares.dtype == torch.float32
    for square, number, (top, left), mirrored in zip(numbers(squares), index, top_left, (0, 0, 1, 1)):
        columns = torch.arange(6).flip(0) if mirrored else torch.arange(6)
        assert (square[0] == 20 * number).all()
        assert (square[1] == (top + torch.arange(6))[:, None]).all() and (square[2] == left + columns).all()


def test_at_goes_from_one_end_to_the_other(pictures):
    for part in (0, 0.5, 1):
        squares = numbers(pictures.at(part))
        for number, square in enumerate(squares):
            start = int(part * number)
            assert square[2 if number % 2 else 1].min() == start, (part, number)


def test_augmented_is_central_or_anywhere_and_mirrored_or_not(pictures):
    """Of 4,000 squares half should be mirrored, and half and a tenth in the middle; six standard errors are 0.05."""
    torch.manual_seed(0)
    squares = numbers(pictures.augmented(torch.full((4000,), 9)))           # its room is 9, the middle is at 4
    left = squares[:, 2].amin((1, 2))
    assert sorted(left.unique().tolist()) == list(range(10)) and (squares[:, 1, :, 0] == torch.arange(6)).all()
    assert abs((squares[:, 2, 0, 0] > squares[:, 2, 0, 1]).float().mean() - 0.5) < 0.05
    assert abs((left == 4).float().mean() - 0.55) < 0.05
    counts = torch.bincount(left)[[0, 1, 2, 3, 5, 6, 7, 8, 9]].float() / 4000
    assert (counts - 0.05).abs().max() < 0.021


def test_an_epoch_has_every_picture_once_in_a_new_order(pictures):
    torch.manual_seed(0)
    orders = []
    for _ in range(2):
        batches = list(pictures.batches(4))
        assert [len(batch) for batch in batches] == [4, 4, 2]
        orders.append((numbers(torch.cat(batches))[:, 0, 0, 0] // 20).tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10)) and orders[0] != orders[1]


# Reading

def save(image, path, **options):
    image.save(str(path), **options)
    return path


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (50, 50), (32, 32), (33, 200)])
def test_shorter_side_becomes_32(tmp_path, size):
    image = read_picture(save(gradient(*size), tmp_path / "a.png"), 32)
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
    pictures = load_pictures(tmp_path)
    brightness = pictures.at(0.5).mean(1)[0]
    assert len(pictures) == 1 and brightness[:, 26:].mean() > brightness[:, :6].mean() + 0.25
    if "grey" not in name and name != "two colours":
        square = pictures.at(0.5)[0]
        assert square[0, :, 26:].mean() > square[2, :, 26:].mean() + 0.8, "no red at the right"


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path):
    values = np.linspace(0, 65535, 40 * 40).reshape(40, 40).astype(np.uint16)
    image = read_picture(save(Image.fromarray(values), tmp_path / "a.png"), 32).astype(float)
    assert image.mean() == pytest.approx(127.5, abs=2) and image.min() < 6 and image.max() > 249


def test_floats_from_0_to_1(tmp_path):
    values = np.linspace(0, 1, 40 * 40, dtype=np.float32).reshape(40, 40)
    image = read_picture(save(Image.fromarray(values), tmp_path / "a.tiff"), 32).astype(float)
    assert image.mean() == pytest.approx(127.5, abs=2) and image.min() < 6 and image.max() > 249


def test_what_is_transparent_shows_white(tmp_path):
    image = gradient(40, 40)
    image.putalpha(Image.fromarray(np.repeat([0, 255], 20).astype(np.uint8)[:, None] + np.zeros((40, 40), np.uint8)))
    read = read_picture(save(image, tmp_path / "a.png"), 32)
    assert (read[:14] == 255).all() and read[18:, :4, 0].max() < 60


def test_a_camera_held_upright(tmp_path):
    image = gradient(60, 40)
    exif = image.getexif()
    exif[0x0112] = 6                                # turn by a quarter, clockwise
    read = read_picture(save(image, tmp_path / "a.jpg", exif=exif), 32)
    assert read.shape[0] > read.shape[1] and read[-1, :, 0].mean() > 230 and read[0, :, 0].mean() < 30


def test_folders_within_folders_and_no_hidden_files(tmp_path):
    for place in ("a.png", "x/b.png", "x/y/z/c.JPG"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        save(gradient(32, 32), tmp_path / place)
    (tmp_path / "._a.png").write_bytes(b"a Mac leaves such")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "readme.txt").write_text("no picture")
    assert len(load_pictures(tmp_path)) == 3


# What cannot be used

BAD = {"damaged": b"", "text": b"no picture at all"}


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
def test_bad_picture_is_named_or_left_out(tmp_path, kind, capsys):
    path = bad_folder(tmp_path, kind)
    with pytest.raises(UserError) as error:
        load_pictures(tmp_path)
    assert str(path) in str(error.value) and "--skip_bad" in str(error.value) and "\n" not in str(error.value)
    if kind == "too small":
        assert "40 by 31 pixels" in str(error.value)
    assert len(load_pictures(tmp_path, skip_bad=True)) == 1
    said = capsys.readouterr().out
    assert "left out 1 of 2" in said and str(path) in said
    Path(tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match="b.png"):
        load_pictures(tmp_path, skip_bad=True)


@pytest.mark.parametrize("name, word", [("empty", "holds no pictures"), ("missing", "there is no folder")])
def test_no_pictures(tmp_path, name, word):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{word}.*name one that holds pictures"):
        load_pictures(tmp_path / name)
