"""Training the diffusion model (Ho et al. 2020, https://arxiv.org/abs/2006.11239, algorithm 1)."""
import math
import os
from copy import deepcopy
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lib.checkpoint import check_history
from lib.clock import Clock
from lib.densities import DENSITIES, checksum, get_dataset
from lib.model_diffusion import SimpleDiffusion
from lib.monitor_diffusion import FILES, METRICS, Monitor, check_writable
from lib.optimize import make_adam, update_ema
from lib.run import Run, choose_device, settings_of
from lib.script import in_one_line, say
from lib.utils import SCHEDULES, add_noise, linear_schedule

Scheduler = torch.optim.lr_scheduler.LRScheduler


def average_weights(ema: nn.Module, model: nn.Module, step: int) -> None:
    """Update a moving average of the model's weights over about the last ninth of the steps (Shamir & Zhang 2013,
    section 4); `step` counts from 0.
    """
    update_ema(ema, model, weight=9 / (step + 9))


def mean_loss(losses: Sequence[Tensor], run: Optional[Run]) -> float:
    """Return the mean of an epoch's losses. Raises RunError if there is a run and the mean is not finite."""
    loss = torch.stack(list(losses)).mean().item()
    if run and not math.isfinite(loss):
        raise run.diverged(f"the loss is {loss}")
    return loss


def has_failed(loss: float, first: Tensor, at_end: bool) -> bool:
    """Return whether an epoch's loss is far above 1, the loss of predicting no noise: above 10 at the end of the
    training, or above 10,000 times the first batch's at any time. (Large inputs such as the index may raise it to a few
    hundred times the first batch's for a while.)
    """
    return loss > 1e4 * max(1.0, first.mean().item()) or (at_end and loss > 10)


def report(bar: tqdm, args: Any, epoch: int, metrics: Dict[str, float], warn: bool) -> None:
    """Print the line of an epoch, and possibly a warning below it, above the progress bar."""
    with bar.external_write_mode():
        if args.verbose:
            text = "   ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            print(f"epoch {epoch:3d}/{args.epochs}   {text}".replace("_", " "), flush=True)
        if warn:
            print(f"warning: the loss is {metrics['loss']:.3g}; a model that predicts no noise at all has a loss of 1. "
                  "The learning rate is probably too large: try a lower --learning_rate", flush=True)


def to_device(dataset: Union[np.ndarray, Tensor], device: Union[str, torch.device]) -> Tensor:
    """Move all points to the device in float32 (converted first, because MPS has no float64)."""
    return torch.as_tensor(dataset, dtype=torch.float32).to(device)


def progress_bar(args: Any, first_epoch: int) -> tqdm:
    """Return the numbers of the remaining epochs, with a progress bar on a terminal."""
    epochs = range(first_epoch, args.epochs + 1)
    return tqdm(epochs, f"training on {Path(args.dataset).name}", leave=False, disable=None)


def train(dataset: Union[np.ndarray, Tensor], args: Any, model: nn.Module, optimizer: torch.optim.Optimizer,
          baralphas: Tensor, scheduler: Optional[Scheduler] = None, ema: Optional[nn.Module] = None,
          run: Optional[Run] = None, evaluate: Optional[Callable[[int], Dict[str, float]]] = None) -> Tensor:
    """Train a model to predict the noise at every timestep of the forward process.

    Args:
        dataset: N,2 points. Batches are taken in their order.
        args: has batch_size, device, epochs, diffusion_steps (T), dataset (its name, for the progress bar) and verbose
            (print a line for each epoch).
        model: predicts the noise, B,2, from x: B,2 and t: B,1.
        optimizer: of the model's weights.
        baralphas: T, of the schedule.
        scheduler: of the learning rate, stepped after every batch. Without one, the rate is constant.
        ema: a copy of the model, whose weights become a moving average of the model's (see average_weights). It is free
            of the noise of single batches and samples better.
        run: saves a checkpoint after each epoch, and may resume.
        evaluate: returns further metrics of an epoch.

    Returns:
        The last batch's loss, a scalar.

    Raises:
        RunError: the loss is no longer finite, or the disk is full; only with a run.
    """
    # Nothing below uses a module-level import by name: an import in the gap would hide it in the whole function.
    model.to(args.device)
    batches = to_device(dataset, args.device).split(args.batch_size)
    baralphas = baralphas.to(args.device)
    loss = baralphas.new_tensor(float("nan"))
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "ema": ema}
    first_epoch = run.start(**{name: part for name, part in parts.items() if part is not None}) if run else 1
    warned = False
    bar = progress_bar(args, first_epoch)
    for epoch in bar:
        if run:
            run.seed_epoch(epoch)
        model.train()
        losses = []
        for number, batch in enumerate(batches, (epoch - 1) * len(batches)):
            # START TODO 2.2 ########################
            # One step of training (algorithm 1). Sample a timestep t for each point of the batch: B,1 integers from 0
            # to diffusion_steps - 1, all equally likely. Add the noise of these timesteps with add_noise, and let the
            # model predict the noise from the noisy points and t. The loss, called `loss`, is the mean squared error
            # between the predicted noise and the noise that was added. Then take one step of the optimizer.
            # BEGIN SOLUTION
            t = torch.randint(0, args.diffusion_steps, (len(batch), 1), device=batch.device)
            noisy, eps = add_noise(batch, t, baralphas)
            loss = F.mse_loss(model(noisy, t), eps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            # END SOLUTION
            # END TODO 2.2 ########################
            if scheduler is not None:
                scheduler.step()
            if ema is not None:
                average_weights(ema, model, number)
            losses.append(loss.detach())            # no .item() here: the device would have to wait in every step
        metrics = {"loss": mean_loss(losses, run)}
        if epoch == first_epoch:
            first_loss = losses[0]
        if evaluate:
            metrics.update(evaluate(epoch))
        if run:
            run.end_epoch(metrics)
        at_end = epoch == args.epochs and number >= 100     # fewer steps may be too few to learn anything
        warn = not warned and has_failed(metrics["loss"], first_loss, at_end)
        report(bar, args, epoch, metrics, warn)
        warned = warned or warn
    return loss.detach()


def make_scheduler(optimizer: torch.optim.Optimizer, args: Any, batches: int) -> Scheduler:
    """Return a schedule of the learning rate: up within the first 5 % of the steps, then down as a cosine."""
    steps = max(21, args.epochs * batches)          # with 20, OneCycleLR would divide by 0
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, args.learning_rate, steps, pct_start=0.05,
                                               cycle_momentum=False)


def warn_of_signal(baralphas: Tensor, args: Any) -> None:
    """Print a warning if the forward process does not end in noise."""
    if baralphas[-1] > 0.01:
        enough = next(n for n in range(args.diffusion_steps, 10 ** 4) if linear_schedule(n)[0][-1] <= 0.01)
        print(f"warning: after {args.diffusion_steps} timesteps, the linear schedule does not end in noise (its last "
              f"baralpha is {baralphas[-1]:.2f}, and should be below 0.01), but sampling starts from noise: use "
              f"--schedule quadratic_cosine, or --diffusion_steps {enough} or more", flush=True)


def run_diffusion_training(args: Any) -> Tuple[Path, Sequence[Path]]:
    """Do all that run_diffusion_training.py does.

    Args:
        args: the flags.

    Returns:
        The folder with the results, and the videos.
    """
    clock = Clock("imports and preparations")
    device = args.device = choose_device(args.device)
    folder = Path(args.output_dir or "results_diffusion")
    videos = [] if args.no_video else [
        Path(f"{os.path.basename(os.path.abspath(folder))}_{name}.mp4") for name in ("forward", "generation")]
    data = get_dataset(args.dataset, args.n_samples, np.random.default_rng(args.seed))
    settings = {**settings_of(args), "dataset": in_one_line(os.path.normpath(args.dataset))}
    if args.dataset not in DENSITIES:
        settings["checksum"] = checksum(args.dataset)
    run = Run(folder, settings, "run_diffusion_training", FILES, args.resume, args.overwrite, METRICS, videos)
    run.check_epochs(args.epochs, "--epochs")
    check_history(run.history[args.epochs - 1:], METRICS[1:], folder)       # the last epoch has distances
    for video in videos:
        check_writable(video)

    schedule = SCHEDULES[args.schedule](args.diffusion_steps)
    torch.manual_seed(args.seed)
    model = SimpleDiffusion(2, args.n_blocks, args.n_units, args.time_embedding, args.diffusion_steps,
                            args.point_embedding, args.activation).to(device)
    ema = deepcopy(model)
    optimizer = make_adam(model, args.learning_rate)
    scheduler = make_scheduler(optimizer, args, math.ceil(len(data) / args.batch_size))
    monitor = Monitor(ema, schedule, data, args, run, videos, clock)
    say(f"training on {args.dataset}, {len(data):,} points, on {device}")
    warn_of_signal(schedule[0], args)
    with clock.part("training"):
        train(data, args, model, optimizer, schedule[0], scheduler, ema, run, monitor.evaluate)
    monitor.save_results()      # after the last checkpoint: no figure or video can lose a finished training
    run.finish()
    print(f"{monitor.summary()}\n{clock.summary()}")
    return folder, videos
