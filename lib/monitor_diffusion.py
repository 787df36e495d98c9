"""Monitoring a training of the diffusion model: the distances that it records, and the figures and videos that it saves
at the end.
"""
import os
from itertools import combinations
from pathlib import Path
from typing import Any, Dict, Iterable, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from lib.densities import get_dataset
from lib.distances import POINTS, energy_distance, sliced_wasserstein
from lib.draw_diffusion import (
    frame_timesteps,
    save_comparison,
    save_forward_video,
    save_generation_video,
    save_schedules,
)
from lib.files import part_path
from lib.pictures import save_curves
from lib.run import Run
from lib.sample_diffusion import sample_ddpm
from lib.script import RunError, UserError
from lib.utils import SCHEDULES, Schedule, add_noise

FILES = ("samples.png", "schedules.png", "loss_curves.png")
METRICS = (("loss",), ("loss", "swd", "energy", "swd_floor", "energy_floor"))   # of an epoch without and with distances
FINAL_POINTS = 100_000                              # sampled from the model at the end


def mean_distances(pairs: Iterable[Tuple[Tensor, Tensor]], suffix: str = "") -> Dict[str, float]:
    """Return the sliced Wasserstein and the energy distance of samples of POINTS,2, averaged over pairs of them."""
    pairs = list(pairs)
    return {name + suffix: float(np.mean([distance(*pair) for pair in pairs]))
            for name, distance in (("swd", sliced_wasserstein), ("energy", energy_distance))}


def check_writable(video: Path) -> None:
    """Check before the training that a video can be written. Raises UserError."""
    part = part_path(video)
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise UserError(f"{video} cannot be written: {error.strerror}. Use --no_video to skip it") from error


class Monitor:
    """Measure how far a model's samples are from the data during training, and draw the results at the end.

    Args:
        model: to sample from.
        schedule: baralphas, alphas, betas.
        data: N,2 training points.
        args: the flags.
        run: the figures go to its folder.
        videos: paths of the forward process's video and of the generation's, or none.
    """

    def __init__(self, model: nn.Module, schedule: Schedule, data: np.ndarray, args: Any, run: Run,
                 videos: Sequence[Path]) -> None:
        self.model, self.schedule, self.data, self.args, self.run, self.videos = (
            model, schedule, data, args, run, videos)
        self.clip = float(np.abs(data).max())
        self.timesteps = frame_timesteps(args.diffusion_steps)[::-1] if videos else []  # that the generation's shows
        self.fresh = [torch.from_numpy(get_dataset(args.dataset, POINTS, np.random.default_rng([args.seed, number])))
                      for number in range(1, 6)]
        self.floor = mean_distances(combinations(self.fresh, 2), "_floor")              # of ten pairs
        self.final: Optional[Tuple[Tensor, Tensor]] = None

    def sample(self, count: int, keep: Sequence[int] = ()) -> Tuple[Tensor, Tensor]:
        """Return samples: count,2 and their path: len(keep),count,2 on the CPU."""
        noise = torch.randn(count, 2, device=self.args.device)
        samples, path = sample_ddpm(self.model, noise, self.schedule, self.clip, keep)
        return samples.cpu(), path.cpu()

    def sample_final(self) -> Tuple[Tensor, Tensor]:
        """Sample as above after the last epoch, once, from a seed of its own: a resumed run can repeat it."""
        if self.final is None:
            self.run.seed_epoch(self.args.epochs + 1)
            self.final = self.sample(FINAL_POINTS, self.timesteps)
        return self.final

    def evaluate(self, epoch: int) -> Dict[str, float]:
        """Measure the distances to the data every evaluate_every epochs and after the last one; otherwise return {}."""
        if epoch == self.args.epochs:
            samples = self.sample_final()[0]
        elif epoch % self.args.evaluate_every == 0:
            samples = self.sample(POINTS)[0]
        else:
            return {}
        return {**mean_distances(zip(samples.split(POINTS), self.fresh)), **self.floor}

    def summary(self) -> str:
        """Return the distances of the last epoch in words."""
        metrics = self.run.history[-1]
        return "   ".join(f"{name} {metrics[key]:.4f} (noise floor {metrics[key + '_floor']:.4f})" for name, key in (
            ("sliced Wasserstein distance to the data", "swd"), ("energy distance", "energy")))

    def save_results(self) -> None:
        """Save the figures and videos of a finished training, unless an earlier try has saved them all."""
        places = [self.run.folder / name for name in FILES] + [Path(os.path.abspath(video)) for video in self.videos]
        if self.final is None and all(place.exists() for place in places):
            return
        samples, path = self.sample_final()
        with self.run.writing("samples.png") as place:
            save_comparison(samples, self.data, self.summary(), place)
        with self.run.writing("schedules.png") as place:
            save_schedules({name: schedule(self.args.diffusion_steps) for name, schedule in SCHEDULES.items()}, place)
        with self.run.writing("loss_curves.png") as place:
            save_curves(self.run.history, {"mean squared error of the predicted noise": ("loss",),
                                           "sliced Wasserstein distance to the data": ("swd", "swd_floor")}, place,
                        {"swd": "samples", "swd_floor": "noise floor"})
        if self.videos:
            self.save_videos(samples, path)

    def save_videos(self, samples: Tensor, path: Tensor) -> None:
        """Save the videos of the forward process and of the generation."""
        self.run.seed_epoch(self.args.epochs + 1)
        data, seed = torch.from_numpy(self.data[:FINAL_POINTS]), int(torch.randint(2 ** 31, ()))

        def noisy(t: int) -> Tensor:
            torch.manual_seed(seed)                 # every point keeps its noise: it moves and does not flicker
            return add_noise(data, t, self.schedule[0])[0]

        try:
            with self.run.writing(self.videos[0]) as place:
                save_forward_video(data, noisy, self.schedule[0], place)
            with self.run.writing(self.videos[1]) as place:
                save_generation_video(path, self.timesteps, samples, self.data, place)
        except RunError as error:
            raise RunError(f"{error}. Training has finished and its results are saved: --resume tries to make the "
                           "video again, and --resume --no_video skips it") from error
