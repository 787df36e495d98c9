"""Monitoring a training of the diffusion model: the distances that it records, and the figures and videos that it saves
at the end.
"""
import os
import tempfile
from contextlib import suppress
from itertools import combinations, product
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from lib.clock import Clock
from lib.densities import get_dataset
from lib.distances import POINTS, energy_distance, off_and_uncovered, sort_projections
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
DISTANCES = ("swd", "energy", "swd_floor", "energy_floor", "off_data", "uncovered")
METRICS = (("loss",), ("loss", *DISTANCES), ("loss", *DISTANCES[:4]))   # of an epoch; older runs measured less
FINAL_POINTS = 40_000                               # sampled from the model at the end
FRESH, DATA = 5, 100_000                            # samples of POINTS, and points, that measure the distances


def mean_energy(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Return the mean energy distance of pairs of samples."""
    return float(np.mean([energy_distance(one, other) for one, other in zip(some, others)]))


def check_writable(video: Path) -> None:
    """Check before the training that a video can be written. Raises UserError."""
    try:
        with tempfile.TemporaryFile(dir=str(video.parent)), suppress(FileNotFoundError):    # leaves nothing if killed
            os.lstat(part_path(video))              # fails if the name is too long
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
        clock: counts where the time goes.
    """

    def __init__(self, model: nn.Module, schedule: Schedule, data: np.ndarray, args: Any, run: Run,
                 videos: Sequence[Path], clock: Clock) -> None:
        self.model, self.schedule, self.data, self.args, self.run, self.videos, self.clock = (
            model, schedule, data, args, run, videos, clock)
        self.clip = float(np.abs(data).max())
        self.timesteps = frame_timesteps(args.diffusion_steps)[::-1] if videos else []  # that the generation's shows
        *self.fresh, self.others = (                # of the density, to compare with
            torch.from_numpy(get_dataset(args.dataset, number, np.random.default_rng([args.seed, stream])))
            for stream, number in enumerate([POINTS] * FRESH + [DATA], 1))
        self.floor: Dict[str, float] = {}
        self.final: Optional[Tuple[Tensor, Tensor]] = None

    def measure_floor(self) -> None:
        """Measure the noise floor: the distances between fresh samples of the density."""
        self.projections = [sort_projections(points) for points in self.fresh]
        pairs = combinations(self.projections, 2)
        self.floor = {"swd_floor": float(np.mean([np.abs(one - other).mean() for one, other in pairs])),
                      "energy_floor": mean_energy(self.fresh, self.fresh[1:])}

    def measure(self, samples: Tensor) -> Dict[str, float]:
        """Return the distances of samples, a multiple of POINTS, to the data."""
        if not self.floor:                          # not before the first measurement: it takes a second
            self.measure_floor()
        parts = samples.split(POINTS)
        pairs = product(map(sort_projections, parts), self.projections)
        off, uncovered = off_and_uncovered(samples, self.others, torch.cat(self.fresh))
        return {"swd": float(np.mean([np.abs(one - other).mean() for one, other in pairs])),
                "energy": mean_energy(parts, self.fresh), **self.floor, "off_data": off, "uncovered": uncovered}

    def sample(self, count: int, keep: Sequence[int] = ()) -> Tuple[Tensor, Tensor]:
        """Return samples: count,2 and their path: len(keep),count,2 on the CPU."""
        with self.clock.part("sampling"):
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
        with self.clock.part("distances"):
            return self.measure(samples)

    def summary(self) -> str:
        """Return the distances of the last epoch in words, in two lines (one for a run of edition 2)."""
        metrics = self.run.history[-1]
        names = {"sliced Wasserstein distance to the data": "swd", "energy distance": "energy"}
        distances = "   ".join(f"{name} {metrics[key]:.4f} (noise floor {metrics[f'{key}_floor']:.4f})"
                               for name, key in names.items())
        if "off_data" not in metrics:
            return distances
        return (f"{distances}\ngenerated points off the data {100 * metrics['off_data']:.2f} %   "
                f"data not covered {100 * metrics['uncovered']:.2f} % (0.10 % each, if both were data)")

    def save_results(self) -> None:
        """Save the figures and videos of a finished training, unless an earlier try has saved them all."""
        places = [self.run.folder / name for name in FILES] + [Path(os.path.abspath(video)) for video in self.videos]
        if self.final is None and all(place.exists() for place in places):
            return
        samples, path = self.sample_final()
        with self.clock.part("figures"):
            self.save_figures(samples)
        if self.videos:
            with self.clock.part("videos"):
                self.save_videos(samples, path)

    def save_figures(self, samples: Tensor) -> None:
        """Save the figures of the samples, of the schedules, and of the metrics over the epochs."""
        with self.run.writing("samples.png") as place:
            save_comparison(samples, self.data[:FINAL_POINTS], self.summary(), place)
        with self.run.writing("schedules.png") as place:
            save_schedules({name: schedule(self.args.diffusion_steps) for name, schedule in SCHEDULES.items()}, place)
        with self.run.writing("loss_curves.png") as place:
            save_curves(self.run.history, {"mean squared error of the predicted noise": ("loss",),
                                           "sliced Wasserstein distance to the data": ("swd", "swd_floor"),
                                           "share of points": ("off_data", "uncovered")}, place,
                        {"swd": "samples", "swd_floor": "noise floor", "off_data": "generated, off the data",
                         "uncovered": "data, not covered"})

    def save_videos(self, samples: Tensor, path: Tensor) -> None:
        """Save the videos of the forward process and of the generation."""
        self.run.seed_epoch(self.args.epochs + 1)
        data, state = torch.from_numpy(self.data[:FINAL_POINTS]), torch.get_rng_state()

        def noisy(t: int) -> Tensor:
            torch.set_rng_state(state)              # every point keeps its noise: it moves and does not flicker
            return add_noise(data, t, self.schedule[0])[0]

        try:
            with self.run.writing(self.videos[0]) as place:
                save_forward_video(data, noisy, self.schedule[0], place)
            with self.run.writing(self.videos[1]) as place:
                save_generation_video(path, self.timesteps, samples, self.data[:FINAL_POINTS], place)
        except RunError as error:
            raise RunError(f"{error}. Training has finished and its results are saved: --resume tries to make the "
                           "video again, and --resume --no_video skips it") from error
