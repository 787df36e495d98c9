"""Figures and videos of the GAN.

Shapes: B batch, C channels; images are B,C,32,32 with values in [-1, 1].
"""
import math
from functools import partial
from itertools import product
from pathlib import Path
from typing import Dict, Iterator, Optional, Sequence, Tuple

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from lib.image_folder import Images
from lib.pictures import batch_images_to_numpy, save_animation, save_figure, save_image_grid, save_video
from lib.script import RunError

TANH = (-1, 1)                                      # range of the generator's outputs


def save_panels(panels: Dict[str, Tensor], path: Path, columns: int = 2) -> None:
    """Save a figure of image grids, each with a title and every pixel drawn as 2 by 2.

    Args:
        panels: images by title; the first 64 are shown.
        columns: panels side by side.
    """
    grids = [batch_images_to_numpy(images, value_range=TANH) for images in panels.values()]
    height, width = (2 * side / 100 for side in grids[0].shape[:2])         # in inches
    columns = min(columns, len(grids))
    rows = math.ceil(len(grids) / columns)
    figure = Figure(figsize=(columns * width, rows * (height + 0.3)))
    for number, (title, grid) in enumerate(zip(panels, grids)):
        row, column = divmod(number, columns)
        axes = figure.add_axes((column / columns, 1 - (row + 1) / rows, 1 / columns, height / (height + 0.3) / rows))
        axes.imshow(grid, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(title, fontsize=11)
    save_figure(figure, path)


def save_progress_video(snapshots: Sequence[Path], path: Path) -> None:
    """Save a video of snapshots taken during training; the last one is shown for longer.

    Raises:
        RunError: a snapshot cannot be read or has a different size.
    """
    def frames() -> Iterator[np.ndarray]:
        size = None
        for snapshot in [*snapshots, *[snapshots[-1]] * 10]:
            try:
                with Image.open(str(snapshot)) as image:
                    frame = np.asarray(image.convert("RGB"))
            except Exception as error:              # Pillow raises many kinds
                raise RunError(f"{snapshot} cannot be read ({error}): delete it, and the video will do without it"
                               ) from error
            size = size or frame.shape
            if frame.shape != size:
                raise RunError(f"{snapshot} differs in size from the snapshots before it: delete it, and the video "
                               "will do without it")
            yield frame

    save_video(frames(), path, fps=10)


def save_interpolation_video(batches: Sequence[Tensor], steps: int, path: Path) -> None:
    """Save a video that interpolates between latents.

    Args:
        batches: images generated on the way.
        steps: number of images from one latent to the next.
    """
    frames = [(255 * batch_images_to_numpy(batch, value_range=TANH)).round().astype(np.uint8) for batch in batches]
    height, width = frames[0].shape[:2]
    figure = Figure(figsize=(8, 2 * round(4 * height / width + 0.2)))
    axes = figure.add_axes((0, 0, 1, 0.94))
    axes.set_axis_off()
    axes.imshow(frames[0])
    label = figure.text(0.02, 0.95, "", family="monospace")

    def show(number: int) -> np.ndarray:
        label.set_text(f"latent {number // steps + 1}, {number % steps / steps:4.0%} of the way to the next")
        return frames[number]

    save_animation(figure, axes, [label], [partial(show, number) for number in range(len(frames))], path)


def nearest_images(generated: Tensor, images: Images, exclude: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
    """Find the nearest training image of each generated one, cropped at either end or at the centre, mirrored or not.

    Args:
        generated: B,3,32,32
        exclude: B, indices of training images that do not count.

    Returns:
        B,3,32,32 the crops, and B their distances: the root mean square of the difference.
    """
    found, least = torch.zeros_like(generated), torch.full((len(generated),), torch.inf)
    for position, mirrored in product((0, 0.5, 1), (False, True)):
        squares = images.crop_at(position, mirrored).cpu()
        distance = torch.cdist(generated.flatten(1), squares.flatten(1)) / generated[0].numel() ** 0.5      # B,N
        if exclude is not None:
            distance[torch.arange(len(generated)), exclude] = torch.inf
        nearest = distance.min(dim=1)
        found = torch.where((nearest.values < least)[:, None, None, None], squares[nearest.indices], found)
        least = torch.minimum(nearest.values, least)
    return found, least


def save_nearest(generated: Tensor, images: Images, path: Path) -> None:
    """Save 24 generated images, each with its nearest training image below: has the generator learned, or copied?

    The title also gives the median nearest-neighbour distance among training images; copies would be much closer.
    """
    generated = generated[:24].cpu().expand(-1, 3, -1, -1)
    squares, distance = nearest_images(generated, images)
    title = f"generated, each with its nearest training image below\nmedian distance {distance.median():.2f}"
    if len(images) > 1:
        some = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:200]
        _, among = nearest_images(images.crop_at(0.5)[some.to(images.start.device)].cpu(), images, exclude=some)
        title += f", among training images {among.median():.2f}"
    save_image_grid(torch.cat([generated, squares], dim=2), path, title, value_range=TANH)
