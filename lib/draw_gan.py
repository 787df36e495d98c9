"""Figures and videos of the GAN."""
import math
from itertools import product
from pathlib import Path
from typing import Dict, Optional, Sequence, Tuple

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from lib.image_folder import Images
from lib.pictures import batch_images_to_numpy, save_animation, save_figure, save_image_grid, save_video
from lib.script import RunError


def save_panels(panels: Dict[str, Tensor], path: Path, columns: int = 2) -> None:
    """Draw grids of pictures, each pixel as 2 by 2 and each grid with a title above it.

    Args:
        panels: by their titles B,C,32,32 pictures with values in [-1, 1], of which 64 are drawn.
        columns: panels side by side.
    """
    grids = [batch_images_to_numpy(images / 2 + 0.5, normalize=False) for images in panels.values()]
    height, width = (2 * side / 100 for side in grids[0].shape[:2])         # in inches
    columns = min(columns, len(grids))
    rows = math.ceil(len(grids) / columns)
    figure = Figure(figsize=(columns * width, rows * (height + 0.3)))
    for number, (title, grid) in enumerate(zip(panels, grids)):
        row, column = divmod(number, columns)
        axes = figure.add_axes([column / columns, 1 - (row + 1) / rows, 1 / columns, height / (height + 0.3) / rows])
        axes.imshow(grid, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(title, fontsize=11)
    save_figure(figure, path)


def save_progress_video(snapshots: Sequence[Path], path: Path) -> None:
    """Make a video of the snapshots of a training; the last one is held. Raises RunError if one is not as it was."""
    def frames():
        size = None
        for snapshot in [*snapshots, *snapshots[-1:] * 10]:
            try:
                with Image.open(str(snapshot)) as image:
                    frame = np.asarray(image.convert("RGB"))
            except Exception as error:              # Pillow raises many kinds
                raise RunError(f"{snapshot} cannot be read ({error}): delete it, and the video goes without it")
            size = size or frame.shape
            if frame.shape != size:
                raise RunError(f"{snapshot} has another size than the snapshots before it: delete it, and the video "
                               "goes without it")
            yield frame

    save_video(frames(), path, fps=10)


def save_interpolation_video(batches: Sequence[Tensor], steps: int, path: Path) -> None:
    """Make a video of a walk between noises.

    Args:
        batches: what the generator makes on the way: B,C,32,32 pictures with values in [-1, 1].
        steps: of the way from one noise to the next.
    """
    frames = [batch_images_to_numpy(batch / 2 + 0.5, normalize=False) for batch in batches]
    height, width = frames[0].shape[:2]
    figure = Figure(figsize=(8, 2 * round(4 * height / width + 0.2)))
    axes = figure.add_axes([0, 0, 1, 0.94])
    axes.set_axis_off()
    image = axes.imshow(frames[0])
    label = figure.text(0.02, 0.95, "", family="monospace")

    def update(number: int) -> None:
        image.set_data(frames[number])
        label.set_text(f"noise {number // steps + 1}, {number % steps / steps:4.0%} of the way to the next")

    save_animation(figure, [image, label], [lambda n=n: update(n) for n in range(len(frames))], path)


def nearest_images(images: Tensor, pictures: Images, but: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
    """For each image the training picture, cut out at either end or in the middle, mirrored or not, nearest to it.

    Args:
        images: B,3,H,W with values in [-1, 1].
        but: B, the numbers of the pictures that do not count.

    Returns:
        B,3,H,W the squares, and B their distances: the root mean square of the difference.
    """
    found, least = torch.zeros_like(images), torch.full((len(images),), torch.inf)
    for part, mirrored in product((0, 0.5, 1), (False, True)):
        squares = pictures.at(part, mirrored).cpu()
        distance = torch.cdist(images.flatten(1), squares.flatten(1)) / images[0].numel() ** 0.5    # B,N
        if but is not None:
            distance[torch.arange(len(images)), but] = torch.inf
        nearest = distance.min(dim=1)
        found = torch.where((nearest.values < least)[:, None, None, None], squares[nearest.indices], found)
        least = torch.minimum(nearest.values, least)
    return found, least


def save_nearest(images: Tensor, pictures: Images, path: Path) -> None:
    """Draw 24 generated images, each with the nearest training picture right below it: learned, or copied?

    Beside the distances stands how far training pictures are from the nearest other one. Copies would be much nearer.
    """
    images = images[:24].cpu().expand(-1, 3, -1, -1)
    squares, distance = nearest_images(images, pictures)
    title = f"generated, and right below the nearest training picture\nmedian distance {distance.median():.2f}"
    if len(pictures) > 1:
        some = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))[:200]
        _, among = nearest_images(pictures.at(0.5)[some.to(pictures.start.device)].cpu(), pictures, but=some)
        title += f", among training pictures {among.median():.2f}"
    save_image_grid(torch.cat([images, squares], dim=2) / 2 + 0.5, path, title, normalize=False)
