"""Pictures and videos of the diffusion model. They show densities: 100,000 points drawn one over the other would only
show where there are any.
"""
from pathlib import Path
from typing import Sequence, Tuple, Union

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from lib.pictures import COLORS, save_animation, save_figure
from lib.utils import SCHEDULES, add_noise

LIMIT, CELLS = 3.0, 180                             # the square that is shown reaches from -LIMIT to LIMIT
BLUR = np.exp(-np.subtract.outer(range(CELLS), range(CELLS)) ** 2 / (2 * 1.5 ** 2))    # a Gaussian of 1.5 cells
FRAMES = 120                                        # of a video, at most, and without those that hold its ends


def density(points: Union[np.ndarray, Tensor]) -> np.ndarray:
    """A smoothed histogram, scaled to its highest values.

    Args:
        points: N,2

    Returns:
        CELLS,CELLS array in [0, 1]; the first row is at the bottom.
    """
    column, row = (np.asarray(points).T + LIMIT) * (CELLS / (2 * LIMIT))
    seen = (column >= 0) & (column < CELLS) & (row >= 0) & (row < CELLS)
    cell = row[seen].astype(int) * CELLS + column[seen].astype(int)
    counts = np.bincount(cell, minlength=CELLS * CELLS).reshape(CELLS, CELLS)
    smooth = BLUR @ counts.astype(float) @ BLUR
    return np.sqrt(np.clip(smooth / max(np.quantile(smooth, 0.998), 1e-9), 0, 1))   # the root lifts what is faint


def _show(axes: Axes, points: Union[np.ndarray, Tensor], title: str) -> AxesImage:
    image = axes.imshow(density(points), origin="lower", extent=[-LIMIT, LIMIT] * 2, cmap="magma", vmin=0, vmax=1,
                        interpolation="bilinear")
    axes.set(title=title, xlabel="$x_1$", ylabel="$x_2$")
    return image


def save_comparison(generated: Tensor, data: np.ndarray, distances: str, path: Path) -> None:
    """Draw generated beside true points, N,2 each. distances: what the figure says about them."""
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _show(left, generated, f"generated: {len(generated):,} points")
    _show(right, data, f"data: {len(data):,} points")
    figure.suptitle(distances, fontsize=10)
    save_figure(figure, path, dpi=120)


def save_schedules(diffusion_steps: int, path: Path) -> None:
    """Draw how much of the data each schedule leaves after each step, and beta."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, schedule), color, style in zip(SCHEDULES.items(), COLORS, ("-", "--")):
        baralphas, _, betas = schedule(diffusion_steps)
        left.plot(baralphas, style, color=color, label=f"{name}, at the end {baralphas[-1]:.2g}")
        right.plot(betas, style, color=color, label=name)
    left.set(title="what is left of the data's variance", xlabel="step t", ylabel=r"$\bar\alpha_t$")
    right.set(title="what each step adds to the noise", xlabel="step t", ylabel=r"$\beta_t$", yscale="log")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    save_figure(figure, path, dpi=120)


def frame_timesteps(diffusion_steps: int) -> Sequence[int]:
    """The steps that a video shows, from 0 to T - 1: all, or FRAMES of them."""
    return np.linspace(0, diffusion_steps - 1, min(diffusion_steps, FRAMES)).round().astype(int).tolist()


def save_forward_video(data: np.ndarray, baralphas: Tensor, path: Path) -> None:
    """A video from the data to noise, with the shares of both beside it.

    Args:
        data: N,2 points.
        baralphas: T, of the schedule.
    """
    figure = Figure(figsize=(9.6, 5.12), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = _show(left, data, "forward diffusion")
    right.plot(torch.sqrt(baralphas), color=COLORS[0], label=r"data: $\sqrt{\bar\alpha_t}$")
    right.plot(torch.sqrt(1 - baralphas), "--", color=COLORS[2], label=r"noise: $\sqrt{1 - \bar\alpha_t}$")
    right.set(title="what $x_t$ is made of", xlabel="step t", ylim=(-0.02, 1.02))
    right.set_box_aspect(1)
    right.legend(loc="lower center")
    line = right.axvline(0, color="black", linewidth=1)
    label = left.text(0.03, 0.97, "", transform=left.transAxes, color="white", va="top", family="monospace")
    batch, seed = torch.from_numpy(data), int(torch.randint(2 ** 31, ()))

    def update(t: int) -> None:
        if t >= 0:
            torch.manual_seed(seed)                 # each point keeps its noise: it moves and does not flicker
            image.set_data(density(add_noise(batch, t, baralphas)[0]))
        line.set_xdata([max(t, 0)] * 2)
        label.set_text(f"step {t:4d} of 0 to {len(baralphas) - 1}" if t >= 0 else "data")

    steps = [-1, *frame_timesteps(len(baralphas))]
    save_animation(figure, [image, line, label], [lambda t=t: update(t) for t in steps], path)


def save_generation_video(path_of_points: Tensor, steps: Sequence[int], samples: Tensor, data: np.ndarray, path: Path
                          ) -> None:
    """A video from noise to generated points, with the true density beside it.

    Args:
        path_of_points: len(steps),N,2 points on entering each of the steps.
        samples: N,2 generated points.
        data: N,2 true points.
    """
    figure = Figure(figsize=(9.6, 5.12), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = _show(left, samples, "generation")
    _show(right, data, "data")
    label = left.text(0.03, 0.97, "", transform=left.transAxes, color="white", va="top", family="monospace")

    def update(points: Tensor, text: str) -> None:
        image.set_data(density(points))
        label.set_text(text)

    frames: Sequence[Tuple[Tensor, str]] = [
        (points, f"step {t:4d} of {max(steps)} to 0") for points, t in zip(path_of_points, steps)]
    save_animation(figure, [image, label],
                   [lambda f=f: update(*f) for f in [*frames, (samples, "generated")]], path)
