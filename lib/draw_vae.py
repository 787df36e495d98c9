"""Figures of the VAE: its reconstructions, samples from the prior, and its latent space."""
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, NamedTuple, Sequence, Tuple, Union

import numpy as np
import torch
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from lib.pictures import COLORS, save_image_grid

if TYPE_CHECKING:
    from lib.model_vae import VAE

CLASS_COLORS = [COLORS[i] for i in (3, 7, 5, 0, 2, 1, 6, 8, 4, 9)]      # 3, 5, 8 and 4, 7, 9 overlap: unlike colours
Device = Union[str, torch.device]


class LatentSpace(NamedTuple):
    """What a figure of a latent space shows.

    Args:
        mu, sigma: N,2 encoded means and standard deviations of the dataset.
        labels: N, 0 to 9.
        images: grid,grid,C,H,W decoded images, as sample_on_grid returns them.
        low, high: 2, the range of the grid.
        step: 2, the distance between neighbouring values of each latent.
    """
    mu: np.ndarray
    sigma: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    low: np.ndarray
    high: np.ndarray
    step: np.ndarray


@torch.no_grad()
def save_reconstructions(model: "VAE", loader: Iterable[Tuple[Tensor, Tensor]], device: Device, path: Path,
                         epoch: int) -> None:
    """Save 32 images, each row with its reconstructions below."""
    model.eval()
    x = next(iter(loader))[0][:32].to(device)
    rows = [row for pair in zip(x.split(8), model(x)[0].split(8)) for row in pair]
    save_image_grid(torch.cat(rows), path, f"epoch {epoch}: test images, each row with its reconstructions below")


@torch.no_grad()
def save_prior_samples(model: "VAE", device: Device, path: Path) -> None:
    """Save the decoded images of 64 samples from the prior N(0, 1)."""
    model.eval()
    z = torch.randn(64, model.latent_size, generator=torch.Generator().manual_seed(0)).to(device)
    save_image_grid(model.decode(z), path, "decoded samples from the prior N(0, 1)")


def draw_decoded_grid(axes: Axes, space: LatentSpace) -> None:
    """Draw the decoded images at their places in the latent space."""
    grid_size, height = space.images.shape[0], space.images.shape[3]
    # rows from the largest latent 1 down, columns from the smallest latent 0 up
    canvas = space.images[:, ::-1, 0].transpose(1, 2, 0, 3).reshape(grid_size * height, -1)
    start, end = space.low - space.step / 2, space.high + space.step / 2
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=1, extent=(start[0], end[0], start[1], end[1]), aspect="auto")
    axes.set(xlim=(start[0], end[0]), ylim=(start[1], end[1]), xlabel="latent 0", ylabel="latent 1",
             title="decoded grid, with each class's mean and mean standard deviation")


def draw_encoded_images(axes: Axes, space: LatentSpace) -> None:
    """Draw the encoded means as points, coloured by class, with a frame around the grid."""
    size = np.clip(40_000 / len(space.mu), 4, 40)   # of a point
    for digit in np.unique(space.labels):
        x, y = space.mu[space.labels == digit].T
        axes.scatter(x, y, s=size, linewidths=0, alpha=0.6, color=CLASS_COLORS[digit], label=str(digit))
    axes.add_patch(Rectangle(tuple(space.low), *(space.high - space.low), fill=False))
    axes.set(xlabel="latent 0", ylabel="latent 1", title="encoded test set: mean of each image, by class (frame: grid)")
    axes.legend(title="class", markerscale=(60 / size) ** 0.5, loc="upper left", bbox_to_anchor=(1, 1))


def draw_latent_space(left: Axes, right: Axes, space: LatentSpace) -> None:
    """Draw the decoded grid and the encoded dataset, with the mean of each class, and its mean sigma as a cross."""
    draw_decoded_grid(left, space)
    draw_encoded_images(right, space)
    for digit in np.unique(space.labels):
        center, spread = (values[space.labels == digit].mean(0) for values in (space.mu, space.sigma))
        left.errorbar(center[0], center[1], xerr=spread[0], yerr=spread[1], color="blue", linewidth=2,
                      path_effects=[patheffects.withStroke(linewidth=3.5, foreground="white")])
        for axes, outline in ((left, "white"), (right, "black")):
            axes.annotate(str(digit), center, (5, 4), textcoords="offset points", color=CLASS_COLORS[digit],
                          fontsize=15, fontweight="bold",
                          path_effects=[patheffects.withStroke(linewidth=2, foreground=outline)])


def draw_comparison(figure: Figure, spaces: Sequence[Tuple[str, LatentSpace]]) -> None:
    """Draw latent spaces with their titles side by side: the decoded grid above, the encoded test set below."""
    for (title, space), (above, below) in zip(spaces, figure.subplots(2, len(spaces), squeeze=False).T):
        draw_latent_space(above, below, space)
        above.set_title(title)
        below.set_title("encoded test set")
        if space is not spaces[-1][1]:              # one legend is enough
            below.get_legend().remove()
