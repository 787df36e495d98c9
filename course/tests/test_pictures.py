"""Grids of images, and curves."""
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread

from course.tests.support import contents
from lib import draw_diffusion, pictures
from lib.pictures import batch_images_to_numpy, save_curves, save_image_grid
from lib.script import RunError
from lib.utils import SCHEDULES


def test_a_grid_has_rows_of_eight_images():
    images = torch.arange(1, 11).view(10, 1, 1, 1).expand(10, 1, 4, 5) / 10.0
    grid = batch_images_to_numpy(images, padding=2, normalize=False)
    assert grid.shape == (2 * (4 + 2) + 2, 8 * (5 + 2) + 2, 3)
    for number in range(10):
        top, left = 2 + number // 8 * 6, 2 + number % 8 * 7
        assert np.allclose(grid[top:top + 4, left:left + 5], (number + 1) / 10)
    assert np.isclose(grid.sum(), 3 * 20 * sum(range(1, 11)) / 10)  # the rest is black


def test_grid_takes_the_first_images_and_keeps_colours():
    torch.manual_seed(0)
    images = torch.rand(100, 3, 6, 6)
    grid = batch_images_to_numpy(images, max_images=16, padding=0, normalize=False)
    assert grid.shape == (12, 48, 3)
    assert np.allclose(grid[6:, 42:], images[15].permute(1, 2, 0))
    assert batch_images_to_numpy(images).shape == (8 * 8 + 2, 8 * 8 + 2, 3)
    assert batch_images_to_numpy(images[:1], padding=0).shape == (6, 6, 3)


@pytest.mark.parametrize("low, high", [(-1, 1), (0, 1), (0, 255), (3, 3)])
def test_normalize_stretches_to_all_of_0_to_1(low, high):
    torch.manual_seed(0)
    images = low + (high - low) * torch.rand(4, 1, 8, 8, requires_grad=True)
    grid = batch_images_to_numpy(images, padding=0)
    assert np.isfinite(grid).all() and grid.min() >= 0 and grid.max() <= 1
    if low < high:
        assert grid.min() == 0 and np.isclose(grid.max(), 1)


def test_values_outside_0_to_1_are_clipped_without_normalize():
    grid = batch_images_to_numpy(torch.tensor([-1.0, 0.25, 3.0]).view(1, 1, 1, 3), padding=0, normalize=False)
    assert grid[0, :, 0].tolist() == [0, 0.25, 1]


def test_a_value_range_is_mapped_to_0_to_1():
    grid = batch_images_to_numpy(torch.tensor([-1.0, 0, 0.5, 9]).view(1, 1, 1, 4), padding=0, value_range=(-1, 1))
    assert grid[0, :, 0].tolist() == [0, 0.5, 0.75, 1]


def test_figures_are_saved_as_files(tmp_path):
    save_image_grid(torch.rand(12, 1, 28, 28), tmp_path / "grid.png", "a title")
    history = [{"epoch": epoch, "train": 1 / epoch, "test": 2 / epoch} for epoch in (1, 2, 3)]
    save_curves(history, {"loss": ("train", "test"), "test alone": ("test",)}, tmp_path / "curves.png")
    save_curves(history[:1], {"loss": ("train",)}, tmp_path / "point.png")
    assert set(contents(tmp_path)) == {"grid.png", "curves.png", "point.png"}
    assert all(imread(str(path)).std() > 0.01 for path in tmp_path.iterdir())


def test_a_figure_that_cannot_be_saved(tmp_path):
    with pytest.raises(RunError, match="nowhere"):
        save_image_grid(torch.rand(1, 1, 28, 28), tmp_path / "nowhere" / "grid.png", "a title")


def test_legends_hide_no_curve(tmp_path, monkeypatch):
    """Whatever the curves look like: a legend is below its axes, and inside the figure."""
    figures = []
    for module in (pictures, draw_diffusion):
        monkeypatch.setattr(module, "save_figure", lambda figure, *_, **__: figures.append(figure))
    panels = {"distance at 32 px": ("generator", "EMA", "noise floor"), "loss": ("generator", "EMA")}
    save_curves([{"epoch": epoch, "generator": epoch % 2, "EMA": 1 - epoch % 2, "noise floor": 0.5}
                 for epoch in range(1, 60)], panels, tmp_path / "curves.png")
    draw_diffusion.save_schedules({name: schedule(100) for name, schedule in SCHEDULES.items()}, tmp_path / "s.png")
    assert len(figures) == 2
    for figure in figures:
        FigureCanvasAgg(figure).draw()
        for axes in figure.axes:
            legend = axes.get_legend().get_window_extent()
            assert figure.bbox.y0 <= legend.y0 and legend.y1 < axes.get_window_extent().y0
            assert figure.bbox.x0 <= legend.x0 and legend.x1 <= figure.bbox.x1


def test_coordinates_are_not_named_like_timesteps():
    """x_1 and x_2 are the points at the timesteps 1 and 2."""
    axes = Figure().subplots()
    draw_diffusion.draw_density(axes, torch.zeros(1, 2), "")
    assert [axes.get_xlabel(), axes.get_ylabel()] == ["first coordinate", "second coordinate"]
