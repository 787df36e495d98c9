"""Figures and videos of points in the plane, and of noise schedules. They show densities, because thousands of
overplotted points would only show where there is at least one.

Shapes: N points, T diffusion steps.
"""
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Tuple, Union

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lib.pictures import COLORS, draw_legend_below, save_animation, save_figure

LIMIT, CELLS = 3.0, 180                             # the figures show the square from -LIMIT to LIMIT
BLUR = np.exp(-np.subtract.outer(range(CELLS), range(CELLS)) ** 2 / (2 * 1.5 ** 2))    # a Gaussian of 1.5 cells
MAGMA = colormaps["magma"](range(256), bytes=True)[:, :3]
FRAMES = 120                                        # of a video, at most, not counting repeated first and last frames


def smooth_histogram(points: Union[np.ndarray, Tensor]) -> np.ndarray:
    """Return a smoothed histogram, scaled to its highest values.

    Args:
        points: N,2

    Returns:
        CELLS,CELLS array in [0, 1]; the first row is at the bottom.
    """
    column, row = (np.asarray(points).T + LIMIT) * (CELLS / (2 * LIMIT))
    inside = (column >= 0) & (column < CELLS) & (row >= 0) & (row < CELLS)
    cell = row[inside].astype(int) * CELLS + column[inside].astype(int)
    counts = np.bincount(cell, minlength=CELLS * CELLS).reshape(CELLS, CELLS)
    smooth = BLUR @ counts.astype(float) @ BLUR
    return np.sqrt(np.clip(smooth / max(np.quantile(smooth, 0.998), 1e-9), 0, 1))   # the root brightens faint regions


def density_image(points: Union[np.ndarray, Tensor]) -> np.ndarray:
    """Return the density of N,2 points in colours: CELLS,CELLS,3 of uint8, the first row at the top."""
    return MAGMA[(smooth_histogram(points)[::-1] * 255).astype(np.uint8)]


def draw_density(axes: Axes, points: Union[np.ndarray, Tensor], title: str) -> None:
    """Draw the density of N,2 points."""
    axes.imshow(density_image(points), extent=(-LIMIT, LIMIT, -LIMIT, LIMIT), interpolation="bilinear")
    axes.set(title=title, xlabel="first coordinate", ylabel="second coordinate")    # x_1, x_2 are timesteps


def save_comparison(generated: Tensor, data: np.ndarray, title: str, path: Path) -> None:
    """Save a figure of generated points next to true ones, N,2 each."""
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_density(left, generated, f"generated: {len(generated):,} points")
    draw_density(right, data, f"data: {len(data):,} points")
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path, dpi=120)


def save_schedules(schedules: Dict[str, Tuple[Tensor, Tensor, Tensor]], path: Path) -> None:
    """Save a figure that compares schedules.

    Args:
        schedules: baralphas, alphas and betas, T each, by name.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, (baralphas, _, betas)), color, style in zip(schedules.items(), COLORS, ("-", "--", ":")):
        left.plot(baralphas, style, color=color, label=f"{name}, at the end {baralphas[-1]:.2g}")
        right.plot(betas, style, color=color, label=name)
    left.set(title="share of the data's variance that is left", xlabel="timestep t", ylabel=r"$\bar\alpha_t$")
    right.set(title="noise added at each timestep", xlabel="timestep t", ylabel=r"$\beta_t$", yscale="log")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        draw_legend_below(axes, columns=1)
    save_figure(figure, path, dpi=120)


def frame_timesteps(diffusion_steps: int) -> List[int]:
    """Return the timesteps that a video shows, from 0 to T - 1: all of them, or FRAMES evenly spaced ones."""
    return np.linspace(0, diffusion_steps - 1, min(diffusion_steps, FRAMES)).round().astype(int).tolist()


def save_forward_video(data: Tensor, noisy: Callable[[int], Tensor], baralphas: Tensor, path: Path) -> None:
    """Save a video of the forward process, next to the shares of data and noise.

    Args:
        data: N,2 points x_0.
        noisy: returns N,2 points x_t for a timestep t.
        baralphas: T, of the schedule.
    """
    figure = Figure(figsize=(9.6, 5.76), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_density(left, data, "")
    right.plot(torch.sqrt(baralphas), color=COLORS[0], label=r"data: $\sqrt{\bar\alpha_t}$")
    right.plot(torch.sqrt(1 - baralphas), "--", color=COLORS[2], label=r"noise: $\sqrt{1 - \bar\alpha_t}$")
    right.set(title="shares of data and noise in $x_t$", xlabel="timestep t", ylim=(-0.02, 1.02))
    right.set_box_aspect(1)
    draw_legend_below(right)
    line = right.axvline(0, color="black", linewidth=1)
    label = left.set_title("forward process", loc="left")

    def show(t: int) -> np.ndarray:                 # -1: before the first timestep
        line.set_xdata([max(t, 0)] * 2)
        label.set_text(f"forward process: timestep {t} of 0 to {len(baralphas) - 1}" if t >= 0 else "data")
        return density_image(noisy(t) if t >= 0 else data)

    timesteps = [-1, *frame_timesteps(len(baralphas))]
    save_animation(figure, left, [line, label], [partial(show, t) for t in timesteps], path)


def save_generation_video(points: Tensor, timesteps: Sequence[int], samples: Tensor, data: np.ndarray, path: Path
                          ) -> None:
    """Save a video from noise to generated points, next to the true density.

    Args:
        points: len(timesteps),N,2 points at each of the timesteps.
        samples: N,2 generated points.
        data: N,2 true points.
    """
    figure = Figure(figsize=(9.6, 5.12), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_density(left, samples, "")
    draw_density(right, data, "data")
    label = left.set_title("generation", loc="left")

    def show(frame: Tensor, text: str) -> np.ndarray:
        label.set_text(text)
        return density_image(frame)

    frames = [(x_t, f"generation: timestep {t} of {max(timesteps)} to 0") for x_t, t in zip(points, timesteps)]
    frames.append((samples, "generated"))
    save_animation(figure, left, [label], [partial(show, *frame) for frame in frames], path)
