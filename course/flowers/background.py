"""The background of a flower: grass, leaves, soil, wood, sky or darkness, chosen independently of the species."""
from typing import Tuple

import numpy as np

from .geometry import Petals, facing, linear, petals, place
from .light import Light, blur, lay, render

# Dark, medium and bright colours; several choices for each kind.
GROUNDS = {
    "grass": ("#0e1a08 #3f5f1d #9fb352", "#14200c #5a7a2a #b9c878",
              "#1b1e0d #6b6a35 #c9bd86", "#07160a #2c5a22 #86b450"),
    "leaves": ("#040805 #1d3315 #5d7f3a", "#060a06 #2a4a22 #86a45e",
               "#080a04 #3a4718 #9aa04a", "#020402 #12240f #4a7036"),
    "soil": ("#0f0a07 #4d3a2b #a08a70", "#14110f #5d534a #b5a999",
             "#0d0705 #3b2417 #87654a", "#1c1a17 #77705f #cfc6b0"),
    "wood": ("#120c08 #5c4330 #a98a67", "#1a1816 #6f6960 #b9b1a3",
             "#0c0604 #3d2618 #7c563a", "#24221f #8d867a #d6d0c4"),
    "sky": ("#3f6fb0 #7ea6d8 #e9eff5", "#2d5796 #4d83c4 #a9c9ea",
            "#8f9aa6 #b9c2ca #eef0f1", "#5c86b8 #a8c3dd #f5f1e8"),
    "dark": ("#010101 #060907 #1c261b", "#020101 #0b0807 #2a221c", "#010203 #070a10 #1b222c")}
CHANCES = {"grass": 0.27, "leaves": 0.32, "soil": 0.13, "wood": 0.08, "sky": 0.1, "dark": 0.1}
# A leaf is a ring with a single petal.
BLADE = Petals((1, 1), (0.9, 1.1), (0.02, 0.05), 0.3, 0.7, (5, 30), (-60, 20), (0.5, 1.5), groove=1, angles=(0,),
               paint="leaf")
OVAL = Petals((1, 1), (0.9, 1.1), (0.22, 0.42), 0.45, 0.8, (0, 20), (-50, 10), (0.1, 0.4), 0.15, 4, angles=(0,),
              paint="leaf")
LANCE, LOBED = OVAL._replace(width=(0.08, 0.16), peak=0.4), OVAL._replace(width=(0.3, 0.5), lobes=0.5)
DRY = "#1c130b #7a6142 #c9b48c"


def noise(rng: np.random.Generator, shape: Tuple[int, int], slope: float, stretch: float = 1) -> np.ndarray:
    """Sample H,W values with mean 0 and variance 1 whose amplitude falls with the frequency to the power of slope.

    A stretch above 1 elongates the pattern vertically.
    """
    y, x = np.fft.fftfreq(shape[0])[:, None] * stretch, np.fft.rfftfreq(shape[1])[None, :]
    spectrum = np.fft.rfft2(rng.normal(size=shape)) / (np.hypot(x, y) + 1 / max(shape)) ** slope
    spectrum[0, 0] = 0
    made = np.fft.irfft2(spectrum, s=shape)
    return made / made.std()


def ramp(values: np.ndarray, colours: str) -> np.ndarray:
    """Map values from about -1.5 to 1.5 to linear RGB, from the first colour through the second to the third."""
    stops = np.array([linear(colour) for colour in colours.split()])
    return np.stack([np.interp(values, [-1.5, 0, 1.8], stops[:, c]) for c in range(3)], axis=-1)


def scatter(shape: Petals, n: int, size: Tuple[float, float], colours: str, rng: np.random.Generator, density: float,
            area: Tuple[float, float], upright: float, dry: float = 0.04) -> np.ndarray:
    """Sample n leaves all over the area (half its width, half its height), more or less upright, some of them dry."""
    kinds = []
    for _ in range(4):                              # a few leaves, each used many times
        dark, middle, bright = (linear(colour) for colour in (DRY if rng.uniform() < dry else colours).split())
        mix = rng.uniform(0.2, 0.8)
        tip = middle * (1 - mix) + bright * mix
        kinds.append(petals(shape, {"leaf": (middle, tip, dark)}, rng, density * size[1]))
    clouds = []
    for i in range(n):
        turn = facing(rng.normal(0, [0.7, 0.7, 0.2]) + [0, 0, 0.8], rng.normal(0, 3 - 2.6 * upright))
        spot = [rng.uniform(-1.1, 1.1), rng.uniform(-1.1 - 0.3 * upright, 1.1 - 1.2 * upright)] * np.array(area)
        leaf = place(kinds[i % 4], turn, rng.uniform(*size), (*spot, rng.uniform(-1, 0)))
        leaf[:, 6:9] *= np.exp(rng.normal(0, 0.3) + rng.normal(0, 0.1, 3)).astype(np.float32)
        clouds.append(leaf)
    return np.concatenate(clouds)


def background(rng: np.random.Generator, light: Light, canvas: Tuple[int, int], scale: float) -> np.ndarray:
    """Render a background as H,W,3 linear light; scale is the number of pixels per unit of length."""
    kind = rng.choice(list(CHANCES), p=list(CHANCES.values()))
    colours = str(rng.choice(GROUNDS[kind]))
    area = (canvas[1] / 2 / scale, canvas[0] / 2 / scale)
    brightness = light.sky + 0.6 * light.sun * max(light.direction[1], 0.3)
    focus = scale * rng.choice([0.0, 0.015, 0.04, 0.1], p=[0.3, 0.3, 0.25, 0.15])

    if kind == "sky":
        height = np.linspace(-1.2, 0.6, canvas[0])[:, None]
        image = ramp(height + 0.8 * np.clip(noise(rng, canvas, 1.7, 2) - rng.uniform(0, 2), 0, None), colours) * 1.3
        if rng.uniform() < 0.5:                     # trees and hills
            ground = noise(rng, canvas, 1.3)
            edge = noise(rng, (1, canvas[1]), 1.2)[0] * 0.12 + rng.uniform(0.3, 1.0)
            below = 1 / (1 + np.exp(-25 * (np.linspace(-1, 1, canvas[0])[:, None] + 0.1 * ground - edge)))[..., None]
            image = image * (1 - below) + below * ramp(ground, str(rng.choice(GROUNDS["leaves"]))) * brightness
        return blur(image, focus)
    if kind == "wood":
        grain = noise(rng, canvas, 1.0, 0.08 if rng.uniform() < 0.5 else 10)
        image = ramp(0.5 * grain + 0.5 * noise(rng, canvas, 1.4), colours) * brightness
        return blur(image, 0.6 * focus)
    if kind == "soil":
        grit = noise(rng, canvas, 0.9)
        lit = np.roll(grit, 2, axis=1) - np.roll(grit, -2, axis=0)
        image = ramp(0.6 * noise(rng, canvas, 1.6) + 0.5 * grit + 0.5 * lit / lit.std(), colours) * brightness
        for shape, n, size in ((OVAL, rng.integers(0, 40), (0.1, 0.4)), (BLADE, rng.integers(5, 50), (0.3, 1.2))):
            litter = scatter(shape, int(n) + 1, size, colours, rng, scale, area, 0, 0.4)
            image = lay(image, render(litter, light, canvas, scale), 0.005 * scale)
        return blur(image, focus)
    image = ramp(0.6 * noise(rng, canvas, 1.8, 0.5 if kind == "grass" else 1) - 0.4, colours) * 0.7 * brightness
    if rng.uniform() < 0.4 and kind != "dark":      # sky between the leaves
        image = image + 0.8 * np.clip(noise(rng, canvas, 1.2) - 1, 0, 1)[..., None] * light.sky
    image = blur(image, 0.02 * scale)
    if kind == "dark":
        focus = max(focus, 0.03 * scale)
    leaves = [(OVAL, LANCE, LOBED)[i] for i in rng.integers(0, 3, 2)]
    for blurring, shape in zip((2.0, 0.5), leaves):  # far, then near
        if kind == "grass":
            things = scatter(BLADE, int(rng.integers(30, 110)), (0.5, 1.6), colours, rng, scale, area, 1, 0.25)
        else:
            few = int(rng.integers(2, 12) if kind == "dark" else rng.integers(20, 70))
            things = scatter(shape, few, (0.2, 0.75), colours, rng, scale, area, 0)
        image = lay(image, render(things, light, canvas, scale), blurring * (focus + 0.008 * scale))
    return image
