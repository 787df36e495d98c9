"""What a run of the diffusion model measures, and what it draws at its end."""
from pathlib import Path
from typing import Dict, Iterable, Sequence, Tuple

import numpy as np
from torch import Tensor

from lib.distances import energy_distance, sliced_wasserstein
from lib.draw_diffusion import save_comparison, save_forward_video, save_generation_video, save_schedules
from lib.files import part_of
from lib.pictures import save_curves
from lib.run import Run
from lib.script import RunError, UserError

FILES = ("samples.png", "schedules.png", "loss_curves.png")
GENERATED = 100_000                                 # points drawn from the model at the end


def distances(pairs: Iterable[Tuple[Tensor, Tensor]], ending: str = "") -> Dict[str, float]:
    """Sliced Wasserstein and energy distance of two samples, POINTS,2 each, as the mean over some pairs of them."""
    pairs = list(pairs)
    return {name + ending: float(np.mean([distance(*pair) for pair in pairs]))
            for name, distance in (("swd", sliced_wasserstein), ("energy", energy_distance))}


def in_words(metrics: Dict[str, float]) -> str:
    """The distances of an epoch."""
    return "   ".join(f"{name} {metrics[key]:.4f} (floor {metrics[key + '_floor']:.4f})" for name, key in (
        ("sliced Wasserstein distance to the data", "swd"), ("energy distance", "energy")))


def check_place(video: Path) -> None:
    """Find out before the training whether a video can be written. Raises UserError."""
    part = part_of(video)
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise UserError(f"{video} cannot be written: {error.strerror}. --no_video makes no videos")


def draw_results(run: Run, data: np.ndarray, baralphas: Tensor, samples: Tensor, path: Tensor, kept: Sequence[int],
                 videos: Sequence[Path]) -> None:
    """Draw the figures of a finished run, and make its videos.

    Args:
        samples, path: as sample_ddpm gives them, the path at the timesteps `kept`.
        videos: none, or where the forward process and the generation go.
    """
    with run.writing("samples.png") as place:
        save_comparison(samples, data, in_words(run.history[-1]), place)
    with run.writing("schedules.png") as place:
        save_schedules(len(baralphas), place)
    with run.writing("loss_curves.png") as place:
        save_curves(run.history, {"mean squared error of the predicted noise": ("loss",),
                                  "sliced Wasserstein distance to the data": ("swd", "swd_floor")}, place)
    if videos:
        run.seed_epoch(len(run.history) + 1)
        try:
            with run.writing(videos[0]) as place:
                save_forward_video(data[:GENERATED], baralphas, place)
            with run.writing(videos[1]) as place:
                save_generation_video(path, kept, samples, data, place)
        except RunError as error:
            raise RunError(f"{error}. The training is finished and kept: --resume tries again, --resume --no_video "
                           "goes without")
