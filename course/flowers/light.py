"""Render point clouds: occlusion, sun, sky and shadow, focus, and the camera."""
from typing import NamedTuple, Tuple

import numpy as np


class Light(NamedTuple):
    """The direction of the sun, and the intensities of sun and sky in linear RGB."""
    direction: np.ndarray
    sun: np.ndarray
    sky: np.ndarray


def sample_light(rng: np.random.Generator) -> Light:
    """Sample the light: sun from the front or from behind, high or low, a cloudy sky, or a camera's flash."""
    kind = rng.choice(["sun", "behind", "cloud", "flash"], p=[0.45, 0.15, 0.3, 0.1])
    side = rng.normal(0, 0.7)
    direction = {"sun": [side, rng.uniform(0.3, 1.2), rng.uniform(0.2, 0.9)], "cloud": [side, 1.0, 0.7],
                 "behind": [side, 0.8, rng.uniform(-0.9, -0.2)], "flash": [0.1 * side, 0.15, 1.0]}[kind]
    sun = {"sun": rng.uniform(0.8, 1.3), "behind": rng.uniform(0.9, 1.5), "cloud": rng.uniform(0.2, 0.45),
           "flash": rng.uniform(0.7, 1.0)}[kind]
    sky = {"sun": rng.uniform(0.2, 0.5), "behind": rng.uniform(0.3, 0.6), "cloud": rng.uniform(0.6, 0.85),
           "flash": rng.uniform(0.1, 0.3)}[kind]
    warm = rng.uniform(0, 0.15)
    return Light(np.array(direction) / np.linalg.norm(direction), sun * np.array([1 + warm, 1.0, 1 - 1.3 * warm]),
                 sky * np.array([1 - 0.5 * warm, 1.0, 1 + warm]))


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an H,W or H,W,C image with a Gaussian; the image wraps around at its edges."""
    if sigma < 0.3:
        return image
    y, x = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None, :]
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * (x ** 2 + y ** 2)).astype(np.float32)
    if image.ndim == 3:
        kernel = kernel[..., None]
    return np.fft.irfft2(np.fft.rfft2(image, axes=(0, 1)) * kernel, s=image.shape[:2], axes=(0, 1))


def _nearest(keys: np.ndarray, depth: np.ndarray, size: int) -> np.ndarray:
    """Return for each key below size the index of the point with the largest depth, -1 if there is none."""
    order = np.argsort(depth, kind="stable")
    found = np.full(size, -1)
    found[keys[order]] = order                      # for equal keys the last one wins
    return found


def _shadow(cloud: np.ndarray, seen: np.ndarray, direction: np.ndarray, cell: float) -> np.ndarray:
    """Return how much of the sun each visible point gets, from 0 to 1."""
    side = np.cross(direction, [0.12, 0.31, 0.94])
    side /= np.linalg.norm(side)
    axes = np.stack([side, np.cross(direction, side), direction], axis=1)
    place = cloud[:, :3] @ axes.astype(np.float32)
    low = place[:, :2].min(axis=0) - 3 * cell
    cells = ((place[:, :2] - low) / cell).astype(int)
    wide = cells.max(axis=0) + 4
    first = _nearest(cells[:, 0] * wide[1] + cells[:, 1], place[:, 2], wide[0] * wide[1])
    top = np.where(first < 0, -1e9, place[first, 2])
    at = cells[seen, 0] * wide[1] + cells[seen, 1]
    return np.mean([place[seen, 2] > top[at + dx * wide[1] + dy] - 2.5 * cell
                    for dx, dy in ((0, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (2, 0), (-2, 0))], axis=0)


def render(cloud: np.ndarray, light: Light, shape: Tuple[int, int], scale: float) -> Tuple[np.ndarray, np.ndarray]:
    """Render a cloud as the camera sees it.

    Args:
        shape: H, W of the image.
        scale: number of pixels per unit of length.

    Returns:
        H,W,3 linear light, and an H,W mask that is 1 where the cloud is.
    """
    height, width = shape
    near = 1 / (1 - 0.15 * np.clip(cloud[:, 2], -3, 3))             # perspective
    column = np.floor(cloud[:, 0] * near * scale + width / 2).astype(int)
    row = np.floor(height / 2 - cloud[:, 1] * near * scale).astype(int)
    inside = np.flatnonzero((column >= 0) & (column < width - 1) & (row >= 0) & (row < height - 1))
    image, mask = np.zeros((height * width, 3)), np.zeros(height * width)
    if not len(inside):
        return image.reshape(height, width, 3), mask.reshape(height, width)
    key = row[inside] * width + column[inside]
    order = np.argsort(cloud[inside, 2], kind="stable")
    first = np.full(height * width, -1)
    corners = np.array([0, 1, width, width + 1])                    # a point covers 2 by 2 pixels, to leave no holes
    first[(key[order][:, None] + corners).ravel()] = np.repeat(inside[order], 4)
    pixels = np.flatnonzero(first >= 0)
    seen = first[pixels]

    normal, colour = cloud[seen, 3:6], cloud[seen, 6:9]
    normal = normal * np.where(normal[:, 2:] < 0, -1, 1)
    facing = normal @ light.direction.astype(np.float32)
    shadow = 1 - (1 - 0.35 * cloud[seen, 9]) * (1 - _shadow(cloud, seen, light.direction, 1.7 / scale))
    depth = np.full(height * width, np.median(cloud[seen, 2]) - 0.2)
    depth[pixels] = cloud[seen, 2]
    open_sky = np.ones(len(pixels))
    for reach, weight in ((0.05, 1.6), (0.2, 1.3)):                # hollows see less of the sky
        around = blur(depth.reshape(height, width), reach * scale).ravel()[pixels]
        open_sky = open_sky * np.exp(-weight * np.clip(around - depth[pixels] + 0.02, 0, 0.5) / (reach * 4))
    through = cloud[seen, 9] * np.clip(-facing, 0, 1) * (0.3 + 0.7 * shadow)
    lit = np.clip(0.9 * facing + 0.1, 0, 1) * shadow
    half = light.direction + [0, 0, 1]
    gloss = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** 24 * shadow * 0.06
    sheen = 0.12 * (1 - normal[:, 2].clip(0, 1)) ** 3 * open_sky
    sky = (0.72 + 0.28 * normal[:, 1:2]) * open_sky[:, None] ** (1 - 0.8 * colour)  # bright petals light each other
    bounce = 0.35 * colour * open_sky[:, None] * light.sun.mean()
    arriving = sky * light.sky + lit[:, None] * light.sun
    image[pixels] = (colour * (arriving + bounce) + 0.015 * arriving        # the surface reflects a part as white
                     + (colour ** 1.2) * through[:, None] * light.sun
                     + gloss[:, None] * light.sun + sheen[:, None] * light.sky)
    mask[pixels] = 1
    return image.reshape(height, width, 3), mask.reshape(height, width)


def lay(below: np.ndarray, layer: Tuple[np.ndarray, np.ndarray], sigma: float) -> np.ndarray:
    """Lay a layer, blurred by sigma pixels, over what is below it."""
    both = blur(np.concatenate([layer[0], layer[1][..., None]], axis=-1), sigma)
    return below * (1 - both[..., 3:].clip(0, 1)) + both[..., :3].clip(0, None)


def expose(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Convert linear light to values from 0 to 1 like a camera: vignetting, white balance, exposure and contrast."""
    height, width = image.shape[:2]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    image = image * (1 - rng.uniform(0, 0.25) * (x ** 2 + y ** 2)[..., None] / 2)
    image = image * np.exp(rng.normal(0, [0.07, 0.03, 0.09])) * np.exp(rng.normal(0, 0.12))
    image = image * 0.95 / max(np.quantile(image.max(axis=-1), 0.95), 0.15) ** rng.uniform(0.8, 1)
    image = np.where(image < 0.6, image, 0.6 + 0.4 * np.tanh((image - 0.6) / 0.4)).clip(0, 1) ** (1 / 2.2)
    grey = image.mean(axis=-1, keepdims=True)
    image = grey + (image - grey) * rng.uniform(0.85, 1.15)
    return (0.5 + (image - 0.5) * rng.uniform(0.95, 1.15)).clip(0, 1)
