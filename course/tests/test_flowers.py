"""The painted flowers are reproducible, different from each other, and of the requested number and size."""
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from course.flowers.image import image_rng, paint
from course.flowers.species import SPECIES
from course.tests.support import contents, environment

ROOT = Path(__file__).resolve().parent.parent.parent


def flowers(folder, *flags):
    """Run the command as a teacher does."""
    command = [sys.executable, "-m", "course.flowers", str(folder)] + [str(flag) for flag in flags]
    return subprocess.run(command, cwd=str(ROOT), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)


def sizes(folder):
    found = []
    for path in sorted(Path(folder).rglob("*.jpg")):
        with Image.open(str(path)) as image:
            found.append(image.size)
    return found


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """Forty small images, four of each species."""
    folder = tmp_path_factory.mktemp("flowers") / "new" / "set"
    done = flowers(folder, "--count", 40, "--size", 32)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder


def test_half_is_for_training_and_all_species_are_equally_frequent(painted):
    found = Counter(path.relative_to(painted).parts[:2] for path in painted.rglob("*") if path.is_file())
    assert len(SPECIES) == 10
    assert found == {(split, name): n for name in SPECIES for split, n in (("train", 2), ("val", 1), ("test", 1))}


def test_nothing_is_left_beside_the_folder(painted):
    assert list(painted.parent.iterdir()) == [painted]


def test_the_shorter_side_is_exact_and_the_shapes_vary(painted):
    found = sizes(painted)
    assert all(min(size) == 32 and max(size) <= 48 for size in found), found
    assert len(set(found)) > 4 and any(w > h for w, h in found) and any(w < h for w, h in found), set(found)


def test_all_images_are_different(painted):
    small = []
    for path in sorted(painted.rglob("*.jpg")):
        with Image.open(str(path)) as image:
            small.append(np.asarray(image.resize((16, 16)), dtype=float))
    distance = [np.sqrt(np.mean((one - other) ** 2)) for i, one in enumerate(small) for other in small[:i]]
    assert min(distance) > 10, f"two images differ by {min(distance):.1f} of 255"


def test_an_image_depends_only_on_seed_species_and_number(painted, tmp_path):
    """Neither the number of processes nor the number of images matters."""
    done = flowers(tmp_path / "one", "--count", 20, "--size", 32, "--processes", 1)
    assert done.returncode == 0, done.stderr
    few, many = contents(tmp_path / "one"), contents(painted)
    assert len(few) == 20 and all(many[name] == data for name, data in few.items())


def test_another_seed_gives_other_images(painted, tmp_path):
    done = flowers(tmp_path / "other", "--count", 10, "--size", 32, "--seed", 1)
    assert done.returncode == 0, done.stderr
    few, many = contents(tmp_path / "other"), contents(painted)
    assert len(few) == 10 and all(many[name] != data for name, data in few.items())


@pytest.mark.parametrize("name", sorted(SPECIES))
def test_the_same_numbers_give_the_same_pixels(name):
    one, other = (np.asarray(paint(name, np.random.default_rng(5), 24)) for _ in range(2))
    assert np.array_equal(one, other) and min(one.shape[:2]) == 24 and one.std() > 10


@pytest.mark.parametrize("size", [8, 33, 150])
def test_any_size(size):
    image = paint("daisy", np.random.default_rng(0), size)
    assert min(image.size) == size and image.mode == "RGB"


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = flowers(tmp_path, "--count", 1)
    lines = [line for line in done.stderr.splitlines() if line]
    assert done.returncode == 2 and len(lines) == 1 and str(tmp_path) in lines[0], done.stderr
    assert contents(tmp_path) == {"mine.txt": b"mine"}


# The dataset that is part of the project

DATASET = ROOT / "dataset_flowers_64px"


def test_the_dataset_has_800_images_of_ten_species():
    found = Counter(path.relative_to(DATASET).parts[:2] for path in DATASET.rglob("*") if path.is_file())
    assert found == {(split, name): n for name in SPECIES for split, n in (("train", 40), ("val", 20), ("test", 20))}


def test_the_dataset_has_short_sides_of_64_pixels_and_varied_shapes():
    found = sizes(DATASET)
    assert all(min(size) == 64 and max(size) <= 96 for size in found), set(found)
    assert len(set(found)) > 20 and any(w > h for w, h in found) and any(w < h for w, h in found), set(found)


def test_the_dataset_is_small():
    assert sum(path.stat().st_size for path in DATASET.rglob("*.jpg")) < 4.5e6


def test_the_dataset_looks_like_the_painted_images():
    """Close but not identical: other versions of NumPy and Pillow may differ slightly."""
    for name in sorted(SPECIES):
        made = np.asarray(paint(name, image_rng(0, name, 0), 64), dtype=float)
        with Image.open(str(DATASET / "train" / name / "0001.jpg")) as image:
            difference = np.abs(np.asarray(image, dtype=float) - made).mean()
        assert difference < 5, f"{name}: {difference:.1f} of 255"
