"""Pictures: grids of images, curves, and saving them."""
import io
import os
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, Sequence, Union

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from lib.run import write_file
from lib.script import RunError

# Ten colours that also the colour-blind tell apart (Petroff 2021, https://arxiv.org/abs/2107.02270).
COLORS = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")


def batch_images_to_numpy(image_batch: Tensor, max_images: int = 64, padding: int = 2, normalize: bool = True
                          ) -> np.ndarray:
    """Lay images out in one grid, eight in a row.

    Args:
        image_batch: B,C,H,W images, of which the first max_images are taken; C is 1 or 3.
        padding: pixels between two images.
        normalize: stretch the values of the batch to [0, 1]; else they are cut off there.

    Returns:
        H,W,3 array with values in [0, 1], for plt.imshow.
    """
    from torchvision.utils import make_grid
    grid = make_grid(image_batch.detach().cpu().float()[:max_images], padding=padding, normalize=normalize)
    return grid.clamp(0, 1).permute(1, 2, 0).numpy()


def save_figure(figure: Figure, path: Union[str, Path], dpi: int = 100) -> None:
    """Save a figure as PNG, whole or not at all."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi)
    write_file(path, data.getvalue())


def save_image_grid(images: Tensor, path: Union[str, Path], title: str, **options) -> None:
    """Save a grid of images with a title. options: of batch_images_to_numpy."""
    grid = batch_images_to_numpy(images, **options)
    height, width = grid.shape[:2]
    figure = Figure(figsize=(5, 5 * height / width + 0.4))
    axes = figure.add_axes([0, 0, 1, 5 * height / width / figure.get_figheight()])
    axes.imshow(grid)
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    save_figure(figure, path, dpi=120)


def save_curves(history: Sequence[Dict[str, float]], panels: Dict[str, Sequence[str]], path: Union[str, Path],
                labels: Dict[str, str] = {}) -> None:
    """Draw metrics over the epochs, one panel beside the other.

    Args:
        history: a dict of metrics for each epoch.
        panels: for each panel its label, with units, and the names of the metrics it shows.
        labels: of the metrics, where their names will not do.
    """
    figure = Figure(figsize=(4.5 * len(panels), 3.5), layout="constrained")
    for axes, (label, names) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items()):
        for name, color, style in zip(names, COLORS, ("-", "--", ":", "-.")):
            rows = [row for row in history if name in row]
            axes.plot([row["epoch"] for row in rows], [row[name] for row in rows], style, color=color,
                      marker="." if len(rows) < 50 else "",
                      label=labels.get(name, name.replace("_", " ").replace(" kl", " KL")))
        axes.set(title=label, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    save_figure(figure, path)


def save_video(frames: Iterable[np.ndarray], path: Union[str, Path], fps: float = 25) -> None:
    """Save frames as an H.264 video that plays anywhere, whole or not at all.

    Args:
        frames: H,W,3 arrays of uint8, all of one shape; H and W are even.

    Raises:
        RunError: it cannot be written.
    """
    import imageio.v2 as imageio
    part, count = Path(path).with_suffix(".part.mp4"), 0            # imageio wants the ending
    try:
        part.touch()                                # found out now, not by ffmpeg, whose errors are long
        options = ["-preset", "veryfast", "-crf", "20", "-movflags", "+faststart"]
        with imageio.get_writer(str(part), format="FFMPEG", fps=fps, codec="libx264", quality=None, macro_block_size=2,
                                ffmpeg_log_level="fatal", output_params=options) as writer:
            for frame in frames:
                writer.append_data(frame)
                count += 1
        if not _has_frames(part, count):            # ffmpeg does not say that it failed in the end
            raise OSError
        os.replace(part, path)
    except OSError as error:
        if part.is_file():
            part.unlink()
        raise RunError(f"{path} could not be written: "
                       f"{error.strerror or 'ffmpeg did not finish it; is there room on the disk?'}")


def save_animation(figure: Figure, moving: Sequence[Artist], updates: Sequence[Callable[[], None]],
                   path: Union[str, Path]) -> None:
    """Save a video of a figure in which only the moving artists change: the rest of it is drawn once.

    Args:
        updates: for each frame what changes the artists; the first and the last frame are held.
    """
    def frames() -> Iterator[np.ndarray]:
        canvas = FigureCanvasAgg(figure)
        for artist in moving:
            artist.set_animated(True)
        canvas.draw()
        background = canvas.copy_from_bbox(figure.bbox)
        for number, update in enumerate(updates):
            update()
            canvas.restore_region(background)
            for artist in moving:
                figure.draw_artist(artist)
            frame = np.array(canvas.buffer_rgba())[..., :3]
            for _ in range(fps if number == len(updates) - 1 else fps // 3 if number == 0 else 1):
                yield frame

    fps = int(np.clip(len(updates) / 4, 5, 25))
    save_video(frames(), path, fps)


def _has_frames(video: Path, count: int) -> bool:
    from imageio_ffmpeg import count_frames_and_secs
    try:
        return count_frames_and_secs(str(video))[0] == count
    except RuntimeError:                            # it is no video
        return False
