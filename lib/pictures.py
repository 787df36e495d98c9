"""Pictures: grids of images, curves, and saving them."""
import io
import os
import subprocess
import tempfile
from pathlib import Path
from typing import BinaryIO, Callable, Dict, Iterable, Iterator, Sequence, Union

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from lib.files import whole_file, write_file
from lib.script import RunError, in_one_line

matplotlib.rcdefaults()                             # what a run draws must not depend on the user's matplotlibrc

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
    with whole_file(path) as part, tempfile.TemporaryFile() as log:
        part.touch()                                # found out now, not by ffmpeg, whose errors are long
        encoder, count = None, 0
        try:
            for frame in frames:
                encoder = encoder or _start_ffmpeg(part, frame.shape, fps, log)
                encoder.stdin.write(np.ascontiguousarray(frame))
                count += 1
            if encoder is None:
                raise RunError("it has no frames")
            encoder.stdin.close()
            status = encoder.wait()
        except BrokenPipeError:
            status = encoder.wait() or 1
        except BaseException:
            if encoder:
                encoder.kill()
                encoder.communicate()
            raise
        if status or not _has_frames(part, count):  # ffmpeg does not always say that it failed in the end
            log.seek(0)
            lines = log.read(2000).decode(errors="replace").strip("\0\n ").split("\n")
            said = in_one_line(lines[-1])[:200] or f"exit status {status}"
            raise RunError(f"ffmpeg did not finish it ({said}; is there room on the disk?)")


def _start_ffmpeg(path: Path, shape: Sequence[int], fps: float, log: BinaryIO) -> subprocess.Popen:
    """Start an encoder that takes H,W,3 frames of uint8 as raw bytes. log: a file for what it says."""
    from imageio_ffmpeg import get_ffmpeg_exe
    try:
        program = get_ffmpeg_exe()
        return subprocess.Popen(                    # an absolute path: ffmpeg takes `name:` for a protocol
            [program, "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{shape[1]}x{shape[0]}",
             "-r", f"{fps:g}", "-i", "-", "-an", "-vcodec", "libx264", "-pix_fmt", "yuv420p", "-preset", "veryfast",
             "-crf", "20", "-movflags", "+faststart", "-f", "mp4", os.path.abspath(path)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
    except (OSError, RuntimeError) as error:
        raise RunError(f"ffmpeg does not start ({getattr(error, 'strerror', None) or error})")


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
        return count_frames_and_secs(os.path.abspath(video))[0] == count
    except Exception:                               # it is no video, or ffmpeg is something else
        return False
