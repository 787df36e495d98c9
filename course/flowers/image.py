"""Compose one image: plants in front of a background, seen by a camera."""
import zlib
from typing import List, Tuple

import numpy as np
from PIL import Image

from .background import BLADE, OVAL, background
from .geometry import bloom, facing, linear, petals, place, rotation, tube
from .light import blur, expose, lay, render, sample_light
from .species import SPECIES, Species

OVERSAMPLING, MARGIN = 2.5, 1.1         # paint at a higher resolution and beyond the edges
GREENS = ("#2c4a16", "#4d6b2a", "#6d8a3c", "#3c5a3a", "#5f6a2c", "#27401f")


def sample_colours(species: Species, rng: np.random.Generator) -> dict:
    """Sample a plant's colours: for the name of each part, the colours of its base, tip and eye."""
    tone = np.exp(rng.normal(0, 0.14, 3) + rng.normal(0, 0.1))      # as an exponent, so that white stays white
    parts = (part.split() for part in species.colours[int(rng.integers(len(species.colours)))].split(","))
    return {name: [linear(colour) ** tone for colour in colours] for name, *colours in parts}


def head(species: Species, colours: dict, rng: np.random.Generator, density: float, turn: np.ndarray) -> np.ndarray:
    """Sample the whole inflorescence, with its stem below, in units of a floret's radius."""
    if species.growth == "single":
        return place(bloom(species.floret, colours, rng, density), turn, 1, (0, 0, 0))
    florets = [bloom(species.floret, colours, rng, density) for _ in range(3)]
    clouds = []
    if species.growth == "umbel":
        n, radius = rng.integers(44, 60), rng.uniform(2.1, 2.5)
        for i in range(n):
            up = 1 - 1.75 * (i + 0.5) / n
            out = np.array([np.sqrt(1 - up ** 2) * np.cos(2.4 * i), up, np.sqrt(1 - up ** 2) * np.sin(2.4 * i)])
            out = out + rng.normal(0, 0.1, 3)
            place_at = radius * out * rng.uniform(0.86, 1.06)
            if out[2] > -0.5:
                floret = place(florets[i % 3], facing(out, rng.uniform(0, 6)), rng.uniform(1.0, 1.2), place_at)
                floret[:, 6:9] *= np.clip(0.6 + 0.45 * out[1] + 0.25 * out[2], 0.12, 1)  # the ball shadows itself
                clouds.append(floret)
                stalk = np.array([np.zeros(3), place_at * 0.5 + rng.normal(0, 0.1, 3), place_at])
                clouds.append(tube(stalk, 0.05, linear(GREENS[2]), rng, density))
    elif species.growth == "spike":
        rows, long = rng.integers(9, 15), rng.uniform(0.75, 0.95)
        for i in range(rows * 6):
            level = i / (rows * 6)
            around = 2.4 * i + rng.normal(0, 0.2)
            wide = (1.5 - 1.15 * level ** 1.5) * rng.uniform(0.85, 1.1)
            out = np.array([np.cos(around), 0.5 + level, np.sin(around)])
            if out[2] > -0.6:
                spot = [wide * out[0], (level - 0.5) * rows * long + rng.normal(0, 0.15), wide * out[2]]
                clouds.append(place(florets[i % 3], facing(out, rng.normal(0, 0.3)), 1.1 - 0.65 * level, spot))
        clouds.append(tube(np.array([[0, -rows * long, 0], [0, 0, 0], [0, rows * long * 0.5, 0]]), 0.15,
                           linear(GREENS[1]), rng, density))
    else:                                           # bells that hang on both sides of a curved stem
        n, bow = rng.integers(3, 9), rng.uniform(-2, 2)
        for i in range(n):
            level = (i + 0.5) / n
            root = np.array([bow * level ** 2, (level - 0.5) * n * 0.75, 0])
            side = (-1) ** i * rng.uniform(0.9, 1.6) * (1.2 - 0.5 * level)
            hang = np.array([side * 0.7, -1 + 0.3 * rng.normal(), rng.uniform(0, 1.1)])
            spot = root + [side, 0.1 - 0.5 * level, rng.uniform(-0.2, 0.8)]
            clouds.append(place(florets[i % 3], facing(hang, rng.uniform(0, 6)), 1.05 - 0.4 * level, spot))
            stalk = np.array([root, (root + spot) / 2 + [0, 0.7, 0], spot - 0.7 * hang / np.linalg.norm(hang)])
            clouds.append(tube(stalk, 0.06, linear(GREENS[1]), rng, density))
        ends = np.array([[0, -n * 0.9, -0.1], [0, 0, -0.1], [bow, n * 0.375, 0]])
        clouds.append(tube(ends, 0.09, linear(GREENS[1]), rng, density))
    return place(np.concatenate(clouds), turn, 1, (0, 0, 0))


def plant(species: Species, colours: dict, rng: np.random.Generator, radius: float, at: np.ndarray, tilt: float,
          scale: float) -> np.ndarray:
    """Sample a plant with its head at a given position, its stem and a few leaves."""
    if species.growth == "single":
        aside = rng.normal(0, 0.35 if species.upright else 1.5)
        out = np.array([np.sin(tilt) * np.sin(aside), np.sin(tilt) * np.cos(aside), np.cos(tilt)])
        turn = facing(out, rng.normal(0, 0.2) if species.upright else rng.uniform(0, 6))
    else:                                           # upright, or leaning a little
        out = np.array([rng.normal(0, 0.2), 1, rng.uniform(-0.1, 0.4)])
        turn = rotation(np.array([0, 0, 1.0]), -out[0]) @ rotation(np.array([1.0, 0, 0]), out[2])
    green = linear(GREENS[rng.integers(len(GREENS))]) * np.exp(rng.normal(0, 0.15, 3))
    clouds = [place(head(species, colours, rng, radius * scale, turn), np.eye(3), radius, at)]
    foot = at + [rng.normal(0, 0.4), -2.6, -0.6]
    neck = at - out / np.linalg.norm(out) * radius * 0.5 if species.growth == "single" else at - [0, 1.5 * radius, 0]
    stem = np.array([neck, neck - 0.5 * out / np.linalg.norm(out) + [0, -0.3, -0.1], foot])
    clouds.append(tube(stem, rng.uniform(0.025, 0.045) * (0.6 + radius), green, rng, scale))
    for _ in range(rng.integers(0, 5)):
        long = rng.uniform(0.5, 1.4)
        shape = BLADE._replace(width=(0.05, 0.1)) if species.leaves == "blade" else OVAL
        leaf = petals(shape, {"leaf": (green * 0.7, green * rng.uniform(0.8, 1.6), green)}, rng, scale * long)
        spot = neck + (foot - neck) * rng.uniform(0.1, 0.6)
        clouds.append(place(leaf, facing(rng.normal(0, [0.5, 0.5, 0]) + [0, 0, 1], rng.normal(0, 1.2)), long, spot))
    return np.concatenate(clouds)


def sample_shape(rng: np.random.Generator, size: int) -> Tuple[int, int]:
    """Sample H, W: mostly 4 to 3, landscape or portrait; some square, some in between."""
    ratio = rng.choice([4 / 3, 1, 3 / 2, rng.uniform(1, 1.5)], p=[0.5, 0.12, 0.13, 0.25])
    longer = int(round(size * ratio))
    return (longer, size) if rng.uniform() < 0.3 else (size, longer)


def image_rng(seed: int, name: str, number: int) -> np.random.Generator:
    """Return the random generator of one image, independent of all other images."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), number])


def paint(name: str, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """Paint an image of the named species; its shorter side has size pixels."""
    species, light = SPECIES[name], sample_light(rng)
    shape = sample_shape(rng, size)
    scale = size * OVERSAMPLING / 2
    canvas = int(MARGIN * OVERSAMPLING * shape[0]), int(MARGIN * OVERSAMPLING * shape[1])
    half = np.array([shape[1], shape[0]]) / min(shape)

    image = background(rng, light, canvas, scale) * np.exp(rng.normal(0, 0.3))
    colours = sample_colours(species, rng)
    n = rng.choice([1, 2, 3, 5], p=[0.72, 0.16, 0.08, 0.04])
    radius = rng.uniform(*species.size) / n ** 0.3
    middle = rng.normal(0, 0.14, 2)
    near: List[np.ndarray] = []
    far: List[np.ndarray] = []
    spots: List[np.ndarray] = []
    for i in range(n + rng.choice([0, 1, 2], p=[0.55, 0.3, 0.15])):  # the first one is in focus, the last ones behind
        tilt = np.radians(rng.uniform(*species.tilt))
        if i == 0:
            spot = middle if n == 1 else rng.uniform(-0.5, 0.5, 2) * half
        else:                                       # of a few positions, the one with the most space
            free = rng.uniform(-1, 1, (6 if i < n else 2, 2)) * half * 0.95
            space = [min(np.hypot(*(one - other)) for other in spots) for one in free]
            spot = free[int(np.argmax(space))]
        spots.append(spot)
        depth = 0 if i == 0 else -rng.uniform(0.1, 0.6) - 0.5 * (i >= n)
        made = plant(species, colours, rng, radius * rng.uniform(0.85, 1.1), np.array([*spot, depth]), tilt, scale)
        (far if i >= n else near).append(made)
    if far:
        image = lay(image, render(np.concatenate(far), light, canvas, scale), scale * rng.uniform(0.02, 0.1))
    subject = render(np.concatenate(near), light, canvas, scale)
    offset = [int(-0.12 * scale * light.direction[1]), int(-0.12 * scale * light.direction[0])]
    shadow = np.roll(blur(subject[1], 0.05 * scale), (-offset[0], offset[1]), axis=(0, 1))
    image = image * (1 - rng.uniform(0, 0.6) * shadow.clip(0, 1))[..., None]
    image = lay(image, subject, scale * rng.choice([0.006, 0.01, 0.018]))
    if rng.uniform() < 0.05:                        # a blade of grass in front of the lens
        green = linear(GREENS[rng.integers(len(GREENS))])
        veil = petals(BLADE._replace(width=(0.05, 0.1)), {"leaf": [green] * 3}, rng, 2 * scale)
        turn = facing(rng.normal(0, 0.3, 3) + [0, 0, 1], rng.normal(0, 0.6))
        veil = place(veil, turn, 2, (rng.choice([-1, 1]) * rng.uniform(0.4, 1.1), rng.uniform(-1.5, -0.8), 0.5))
        image = lay(image, render(veil, light, canvas, scale), 0.08 * scale)

    top, left = (canvas[0] - int(OVERSAMPLING * shape[0])) // 2, (canvas[1] - int(OVERSAMPLING * shape[1])) // 2
    image = image[top:top + int(OVERSAMPLING * shape[0]), left:left + int(OVERSAMPLING * shape[1])]
    shown = Image.fromarray((255 * expose(image, rng)).astype(np.uint8))
    pixels = np.asarray(shown.resize((shape[1], shape[0]), Image.Resampling.LANCZOS), dtype=np.float64)
    pixels = pixels + rng.uniform(0, 0.5) * (pixels - blur(pixels, 0.8))    # cameras sharpen
    pixels = pixels + rng.normal(0, rng.uniform(0.3, 3), pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
