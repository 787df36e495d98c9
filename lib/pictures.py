"""Figures and videos: grids of images, curves, and writing them to files."""
import io
import os
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterable, Iterator, Mapping, Optional, Sequence, Tuple, Union

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from lib.files import whole_file, write_file
from lib.script import RunError, in_one_line

matplotlib.rcdefaults()                             # figures must not depend on the user's matplotlibrc

# Ten colours that colour-blind readers can tell apart (Petroff 2021, https://arxiv.org/abs/2107.02270).
COLORS = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")


def batch_images_to_numpy(image_batch: Tensor, max_images: int = 64, padding: int = 2, normalize: bool = True,
                          value_range: Optional[Tuple[float, float]] = None) -> np.ndarray:
    """Arrange images in one grid, eight per row.

    Args:
        image_batch: B,C,H,W images; C is 1 or 3.
        max_images: how many of them to show, at most.
        padding: pixels between two images.
        normalize: map the values of the batch to [0, 1]; otherwise clip them to [0, 1].
        value_range: what normalize maps to 0 and 1; by default the smallest and the largest value of the batch.

    Returns:
        H,W,3 array with values in [0, 1], for plt.imshow.
    """
    from torchvision.utils import make_grid
    grid = make_grid(image_batch.detach().cpu().float()[:max_images], padding=padding, normalize=normalize,
                     value_range=value_range)
    return grid.clamp(0, 1).permute(1, 2, 0).numpy()


def save_figure(figure: Figure, path: Union[str, Path], dpi: int = 100) -> None:
    """Save a figure as PNG, whole or not at all."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi)
    write_file(path, data.getvalue())


def save_image_grid(images: Tensor, path: Union[str, Path], title: str, value_range: Tuple[float, float] = (0, 1),
                    max_images: int = 64) -> None:
    """Save a grid of images, B,C,H,W with values in value_range, with a title."""
    grid = batch_images_to_numpy(images, max_images, value_range=value_range)
    height, width = grid.shape[:2]
    figure = Figure(figsize=(5, 5 * height / width + 0.4))
    axes = figure.add_axes((0, 0, 1, 5 * height / width / figure.get_figheight()))
    axes.imshow(grid)
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    save_figure(figure, path, dpi=120)


def draw_legend_below(axes: Axes, columns: int = 2) -> None:
    """Draw the legend of axes below them, where it hides no curve."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncol=columns, frameon=False)


def save_curves(history: Sequence[Dict[str, float]], panels: Mapping[str, Sequence[str]], path: Union[str, Path],
                labels: Optional[Dict[str, str]] = None) -> None:
    """Save a figure of metrics over the epochs, with panels side by side.

    Args:
        history: a dict of metrics for each epoch.
        panels: the names of the metrics in each panel, by the panel's title.
        labels: of metrics whose name is not a good label.
    """
    labels = labels or {}
    figure = Figure(figsize=(4.5 * len(panels), 4), layout="constrained")
    for axes, (label, names) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items()):
        for name, color, style in zip(names, COLORS, ("-", "--", ":", "-.")):
            rows = [row for row in history if name in row]
            axes.plot([row["epoch"] for row in rows], [row[name] for row in rows], style, color=color,
                      marker="." if len(rows) < 50 else "",
                      label=labels.get(name, name.replace("_", " ").replace(" kl", " KL")))
        axes.set(title=label, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        draw_legend_below(axes)
    save_figure(figure, path)


def save_video(frames: Iterable[np.ndarray], path: Union[str, Path], fps: float = 25) -> None:
    """Save an H.264 video that plays anywhere, whole or not at all.

    Args:
        frames: H,W,3 arrays of uint8, all of the same shape; H and W are even.
        fps: frames per second.

    Raises:
        RunError: the video cannot be written.
    """
    with whole_file(path) as part, tempfile.TemporaryFile() as log:
        part.touch()                                # fail early, with a short error instead of ffmpeg's
        encoder: Any = None                         # ffmpeg, from the first frame on
        count = 0
        try:
            for frame in frames:
                encoder = encoder or _start_ffmpeg(part, frame.shape, fps, log)
                encoder.stdin.write(np.ascontiguousarray(frame))
                count += 1
            if encoder is None:
                raise RunError("there are no frames")
            encoder.stdin.close()
            status = encoder.wait()
        except BrokenPipeError:
            status = encoder.wait() or 1
        except BaseException:
            if encoder:
                encoder.kill()
                encoder.communicate()
            raise
        if status or not _has_frames(part, count):  # ffmpeg does not always report that it failed in the end
            log.seek(0)
            lines = log.read(2000).decode(errors="replace").strip("\0\n ").split("\n")
            said = in_one_line(lines[-1])[:200] or f"exit status {status}"
            raise RunError(f"ffmpeg failed ({said}; is the disk full?)")


def _start_ffmpeg(path: Path, shape: Sequence[int], fps: float, log: IO[bytes]) -> subprocess.Popen:
    """Start an encoder that reads H,W,3 frames of uint8 as raw bytes, and writes its messages to log."""
    from imageio_ffmpeg import get_ffmpeg_exe
    try:
        program = get_ffmpeg_exe()
        return subprocess.Popen(                    # absolute path: for ffmpeg, `name:` is a protocol
            [program, "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{shape[1]}x{shape[0]}",
             "-r", f"{fps:g}", "-i", "-", "-an", "-vcodec", "libx264", "-pix_fmt", "yuv420p", "-preset", "veryfast",
             "-crf", "20", "-movflags", "+faststart", "-f", "mp4", os.path.abspath(path)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
    except (OSError, RuntimeError) as error:
        raise RunError(f"ffmpeg cannot be started ({getattr(error, 'strerror', None) or error})") from error


def save_animation(figure: Figure, axes: Axes, moving: Sequence[Artist], updates: Sequence[Callable[[], np.ndarray]],
                   path: Union[str, Path]) -> None:
    """Save a video of a figure in which one axes shows one image after another, and some artists change.

    The rest of the figure is drawn only once, and the images are copied into the frames: both are much faster than
    drawing everything with matplotlib.

    Args:
        axes: what the images fill.
        moving: the artists that change; they are outside of the axes.
        updates: change the artists and return the image, H,W,3 of uint8 with the top row first; one call per frame. The
            first and the last frame are shown for longer.
    """
    def frames() -> Iterator[np.ndarray]:
        canvas = FigureCanvasAgg(figure)
        for artist in moving:
            artist.set_animated(True)
        canvas.draw()
        background = canvas.copy_from_bbox(figure.bbox)
        left, bottom, right, top = (round(value) for value in axes.get_window_extent().extents)
        repeats = [fps // 3] + [1] * (len(updates) - 2) + [fps]
        for update, repeat in zip(updates, repeats[-len(updates):]):
            image = Image.fromarray(update()).resize((right - left, top - bottom), Image.Resampling.BILINEAR)
            canvas.restore_region(background)
            for artist in moving:
                figure.draw_artist(artist)
            frame = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
            frame = frame.convert("RGB")
            frame.paste(image, (left, frame.height - top))
            for _ in range(repeat):
                yield np.asarray(frame)

    fps = int(np.clip(len(updates) / 4, 5, 25))
    save_video(frames(), path, fps)


def _has_frames(video: Path, count: int) -> bool:
    from imageio_ffmpeg import count_frames_and_secs
    try:
        return count_frames_and_secs(os.path.abspath(video))[0] == count
    except Exception:                               # not a video, or not an ffmpeg
        return False
