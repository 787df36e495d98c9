"""Training the diffusion model (Ho et al. 2020, https://arxiv.org/abs/2006.11239, algorithm 1)."""
import math
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lib.distances import POINTS, energy_distance, sliced_wasserstein
from lib.draw_diffusion import (frame_steps, save_comparison, save_forward_video, save_generation_video,
                                save_schedules)
from lib.model_diffusion import SimpleDiffusion
from lib.pictures import save_curves
from lib.run import CHECKPOINT, Run, choose_device
from lib.sample_diffusion import sample_ddpm
from lib.script import UserError
from lib.utils import SCHEDULES, add_noise, get_dataset, linear_schedule

FILES = ("samples.png", "schedules.png", "loss_curves.png")
GENERATED = 100_000                                 # points drawn from the model at the end
Scheduler = torch.optim.lr_scheduler.LRScheduler


def train(dataset: Union[np.ndarray, Tensor], args: Any, model: nn.Module, optimizer: torch.optim.Optimizer,
          baralphas: Tensor, scheduler: Optional[Scheduler] = None, average: Optional[nn.Module] = None,
          run: Optional[Run] = None, evaluate: Optional[Callable[[int], Dict[str, float]]] = None) -> Tensor:
    """Teach a model to tell the noise from the data, at all steps of the forward process.

    Args:
        dataset: N,2 points. The batches are taken in their order.
        args: has batch_size, device, epochs, diffusion_steps (T), dataset (its name, for the progress bar) and verbose
            (print a line for each epoch).
        model: predicts the noise, B,2, from x: B,2 and t: B,1.
        baralphas: T, of the schedule.
        scheduler: of the learning rate; it goes on with each batch. The rate is constant without one.
        average: a copy of the model, whose weights become an average of the model's over about the last ninth of the
            training (Shamir & Zhang 2013, section 4). They lack the noise of the single batches, and generate better.
        run: keeps a checkpoint after each epoch, and may resume.
        evaluate: further metrics of an epoch, for the run.

    Returns:
        The last batch's loss, a scalar.

    Raises:
        RunError: the loss is no longer finite, or the disk is full; only with a run.
    """
    model.to(args.device)
    data = torch.as_tensor(dataset, dtype=torch.float32, device=args.device)    # in memory, once
    baralphas = baralphas.to(args.device)
    loss = torch.tensor(math.nan)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "average": average}
    first_epoch = run.start(**{name: part for name, part in parts.items() if part is not None}) if run else 1
    bar = tqdm(range(first_epoch, args.epochs + 1), f"training on {Path(args.dataset).name}", leave=False, disable=None)
    for epoch in bar:
        if run:
            run.seed_epoch(epoch)
        model.train()
        losses = []
        batches = data.split(args.batch_size)
        for number, batch in enumerate(batches, (epoch - 1) * len(batches)):
            # START TODO 2.2 ########################
            # One step of training (algorithm 1): draw a step t for each point of the batch, B,1 integers, each of 0 to
            # diffusion_steps - 1 equally likely; add the noise of that step with add_noise; let the model predict the
            # noise from the noised points and t. The loss, called `loss`, is the mean squared error between the
            # predicted noise and the drawn one. Then take one step of the optimizer.
            # BEGIN SOLUTION
            t = torch.randint(0, args.diffusion_steps, (len(batch), 1), device=batch.device)
            noised, eps = add_noise(batch, t, baralphas)
            loss = F.mse_loss(model(noised, t), eps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            # END SOLUTION
            # END TODO 2.2 ########################
            if scheduler is not None:
                scheduler.step()
            if average is not None:
                with torch.no_grad():
                    for mean, weight in zip(average.parameters(), model.parameters()):
                        mean.lerp_(weight, 9 / (number + 9))
            losses.append(loss.detach())            # no .item() here: it would make the device wait in every step
        metrics = {"loss": torch.stack(losses).mean().item()}
        if run and not math.isfinite(metrics["loss"]):
            raise run.diverged(f"the loss is {metrics['loss']}")
        if evaluate:
            metrics.update(evaluate(epoch))
        if run:
            run.end_epoch(metrics)
        if args.verbose:
            text = "   ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            with bar.external_write_mode():         # above the progress bar
                print(f"epoch {epoch:3d}/{args.epochs}   {text}".replace("_", " "), flush=True)
    return loss.detach()


def distances(pairs: Iterable[Tuple[Tensor, Tensor]], ending: str = "") -> Dict[str, float]:
    """Sliced Wasserstein and energy distance of two samples, POINTS,2 each, as the mean over some pairs of them."""
    pairs = list(pairs)
    return {name + ending: float(np.mean([distance(*pair) for pair in pairs]))
            for name, distance in (("swd", sliced_wasserstein), ("energy", energy_distance))}


def in_words(metrics: Dict[str, float]) -> str:
    """The distances of an epoch."""
    return "   ".join(f"{name} {metrics[key]:.4f} (floor {metrics[key + '_floor']:.4f})" for name, key in (
        ("sliced Wasserstein distance to the data", "swd"), ("energy distance", "energy")))


def check_place(video: Path, mine: bool) -> None:
    """Find out before the training whether a video can be written. mine: one that is there belongs to this run."""
    part = video.with_suffix(".part.mp4")
    if video.exists() and not mine:
        raise UserError(f"{video} is there already, of another run: move it, or choose another name by --output_dir")
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise UserError(f"{video} cannot be written: {error.strerror}. --no_video makes no videos")


def run_diffusion_training(args: Any) -> Tuple[Path, Sequence[Path]]:
    """All that run_diffusion_training.py does.

    Args:
        args: the flags.

    Returns:
        The folder with the results, and the videos.
    """
    device = args.device = choose_device(args.device)
    settings = {name: getattr(args, name) for name in (
        "dataset", "n_samples", "schedule", "diffusion_steps", "epochs", "batch_size", "learning_rate", "n_blocks",
        "n_units", "time_embedding", "evaluate_every", "seed")}
    folder = Path(args.output_dir or "results_diffusion")
    videos = [] if args.no_video else [
        Path(f"{folder.resolve().name}_{name}.mp4") for name in ("forward", "generation")]
    data = get_dataset(args.dataset, args.n_samples, np.random.default_rng(args.seed))
    fresh = [torch.from_numpy(get_dataset(args.dataset, POINTS, np.random.default_rng([args.seed, number])))
             for number in range(1, 6)]
    run = Run(folder, settings, FILES, args.resume, args.overwrite)
    for video in videos:
        check_place(video, mine=(folder / CHECKPOINT).exists())

    schedule = SCHEDULES[args.schedule](args.diffusion_steps)
    baralphas = schedule[0]
    torch.manual_seed(args.seed)
    model = SimpleDiffusion(2, args.n_blocks, args.n_units, args.time_embedding, args.diffusion_steps).to(device)
    average = deepcopy(model)
    fused = device.type != "mps"                    # one kernel updates all weights; MPS has it only in newer versions
    optimizer = torch.optim.Adam(model.parameters(), args.learning_rate, fused=fused)
    steps = max(21, args.epochs * math.ceil(len(data) / args.batch_size))   # at 20, OneCycleLR divides by 0
    scheduler = torch.optim.lr_scheduler.OneCycleLR(        # up within 5 % of the steps, then down as a cosine
        optimizer, args.learning_rate, steps, pct_start=0.05, cycle_momentum=False)

    clip = float(np.abs(data).max())
    floor = distances(combinations(fresh, 2), "_floor")     # of ten pairs

    def evaluate(epoch: int) -> Dict[str, float]:
        """The distances, every so many epochs and at the end; at the end the pictures too."""
        last = epoch == args.epochs
        if not last and epoch % args.evaluate_every:
            return {}
        kept = frame_steps(args.diffusion_steps)[::-1] if last and videos else []
        noise = torch.randn(GENERATED if last else POINTS, 2, device=device)
        samples, path = (points.cpu() for points in sample_ddpm(average, noise, schedule, clip, kept))
        metrics = {**distances(zip(samples.split(POINTS), fresh)), **floor}
        if last:                                    # before the checkpoint: a resumed run lacks no picture
            save_comparison(samples, data, in_words(metrics), folder / "samples.png")
            save_schedules(args.diffusion_steps, folder / "schedules.png")
            if videos:
                save_forward_video(data[:GENERATED], baralphas, videos[0])
                save_generation_video(path, kept, samples, data, videos[1])
        return metrics

    print(f"training on {args.dataset}, {len(data):,} points, on {device}", flush=True)
    if baralphas[-1] > 0.01:
        enough = next(n for n in range(args.diffusion_steps, 10 ** 4) if linear_schedule(n)[0][-1] <= 0.01)
        print(f"warning: the linear schedule does not end in noise after {args.diffusion_steps} steps (baralpha is "
              f"{baralphas[-1]:.2f} there, it should be below 0.01), but generation begins with noise: take --schedule "
              f"cosine, or --diffusion_steps {enough} or more", flush=True)
    train(data, args, model, optimizer, baralphas, scheduler, average, run, evaluate)
    save_curves(run.history, {"mean squared error of the predicted noise": ("loss",),
                              "sliced Wasserstein distance to the data": ("swd", "swd_floor")},
                folder / "loss_curves.png")
    print(in_words(run.history[-1]))
    return folder, [video for video in videos if video.exists()]
