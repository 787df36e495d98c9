"""Training the diffusion model (Ho et al. 2020, https://arxiv.org/abs/2006.11239, algorithm 1)."""
import math
import os
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lib.checkpoint import check_history
from lib.distances import POINTS
from lib.draw_diffusion import frame_timesteps
from lib.model_diffusion import SimpleDiffusion
from lib.run import Run, choose_device
from lib.sample_diffusion import sample_ddpm
from lib.script import in_one_line, say
from lib.utils import DENSITIES, SCHEDULES, add_noise, checksum, get_dataset, linear_schedule
from lib.monitor_diffusion import FILES, GENERATED, check_place, distances, draw_results, in_words

Scheduler = torch.optim.lr_scheduler.LRScheduler


def update_ema(average: nn.Module, model: nn.Module, step: int) -> None:
    """Move the average towards the model's weights; `step` counts from 0."""
    with torch.no_grad():
        for mean, weight in zip(average.parameters(), model.parameters()):
            mean.lerp_(weight, 9 / (step + 9))


def mean_loss(losses: Sequence[Tensor], run: Optional[Run]) -> float:
    """Return the mean of an epoch's losses; raise RunError if it is not finite and there is a run."""
    loss = torch.stack(losses).mean().item()
    if run and not math.isfinite(loss):
        raise run.diverged(f"the loss is {loss}")
    return loss


def has_failed(loss: float, first: Tensor, at_end: bool) -> bool:
    """Tell whether an epoch's loss is far above 1, the loss of predicting no noise, at the end of the training or by so
    much that something is wrong: large inputs like the index let it grow to a few hundred times the first batch's.
    """
    return loss > 1e4 * max(1.0, first.mean().item()) or (at_end and loss > 10)


def report(bar: tqdm, args: Any, epoch: int, metrics: Dict[str, float], warn: bool) -> None:
    """Print the line of an epoch, and a warning below it, above the progress bar."""
    with bar.external_write_mode():
        if args.verbose:
            text = "   ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            print(f"epoch {epoch:3d}/{args.epochs}   {text}".replace("_", " "), flush=True)
        if warn:
            print(f"warning: the loss is {metrics['loss']:.3g}; a model that predicts no noise at all has a loss of 1. "
                  "The learning rate is probably too large: try a lower --learning_rate", flush=True)


def to_device(dataset: Union[np.ndarray, Tensor], device: Union[str, torch.device]) -> Tensor:
    """Move all points to the device at once, in float32; MPS has no float64, so convert them first."""
    return torch.as_tensor(dataset, dtype=torch.float32).to(device)


def progress_bar(args: Any, first_epoch: int) -> tqdm:
    """Return the numbers of the remaining epochs, with a progress bar on a terminal."""
    epochs = range(first_epoch, args.epochs + 1)
    return tqdm(epochs, f"training on {Path(args.dataset).name}", leave=False, disable=None)


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
    # No name that the module imports is used below: an import in the gap would hide it in the whole function.
    model.to(args.device)
    batches = to_device(dataset, args.device).split(args.batch_size)
    baralphas = baralphas.to(args.device)
    loss = baralphas.new_tensor(float("nan"))
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "average": average}
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
                update_ema(average, model, number)
            losses.append(loss.detach())            # no .item() here: it would make the device wait in every step
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


def run_diffusion_training(args: Any) -> Tuple[Path, Sequence[Path]]:
    """All that run_diffusion_training.py does.

    Args:
        args: the flags.

    Returns:
        The folder with the results, and the videos.
    """
    device = args.device = choose_device(args.device)
    folder = Path(args.output_dir or "results_diffusion")
    videos = [] if args.no_video else [
        Path(f"{os.path.basename(os.path.abspath(folder))}_{name}.mp4") for name in ("forward", "generation")]
    data = get_dataset(args.dataset, args.n_samples, np.random.default_rng(args.seed))
    fresh = [torch.from_numpy(get_dataset(args.dataset, POINTS, np.random.default_rng([args.seed, number])))
             for number in range(1, 6)]
    settings = {name: getattr(args, name) for name in (
        "n_samples", "schedule", "diffusion_steps", "epochs", "batch_size", "learning_rate", "n_blocks", "n_units",
        "time_embedding", "evaluate_every", "seed")}
    settings["dataset"] = in_one_line(os.path.normpath(args.dataset))
    if args.dataset not in DENSITIES:
        settings["checksum"] = checksum(args.dataset)
    names = [["loss"], ["loss", "swd", "energy", "swd_floor", "energy_floor"]]
    run = Run(folder, settings, "run_diffusion_training", FILES, args.resume, args.overwrite, names, videos)
    run.check_epochs(args.epochs, "--epochs")
    check_history(run.history[args.epochs - 1:], names[1:], folder)         # the last epoch has distances
    for video in videos:
        check_place(video)

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
    kept = frame_timesteps(args.diffusion_steps)[::-1] if videos else []
    generated = []                                  # by the trained model: samples and path, as sample_ddpm gives them

    def generate() -> None:
        run.seed_epoch(args.epochs + 1)             # so that a run that was stopped now can generate the same again
        noise = torch.randn(GENERATED, 2, device=device)
        generated[:] = [points.cpu() for points in sample_ddpm(average, noise, schedule, clip, kept)]

    def evaluate(epoch: int) -> Dict[str, float]:
        """Measure the distances, every so many epochs and at the end."""
        if epoch == args.epochs:
            generate()
            samples = generated[0]
        elif epoch % args.evaluate_every:
            return {}
        else:
            samples = sample_ddpm(average, torch.randn(POINTS, 2, device=device), schedule, clip)[0].cpu()
        return {**distances(zip(samples.split(POINTS), fresh)), **floor}

    say(f"training on {args.dataset}, {len(data):,} points, on {device}")
    if baralphas[-1] > 0.01:
        enough = next(n for n in range(args.diffusion_steps, 10 ** 4) if linear_schedule(n)[0][-1] <= 0.01)
        print(f"warning: the linear schedule does not end in noise after {args.diffusion_steps} steps (baralpha is "
              f"{baralphas[-1]:.2f} there, it should be below 0.01), but generation begins with noise: take --schedule "
              f"cosine, or --diffusion_steps {enough} or more", flush=True)
    train(data, args, model, optimizer, baralphas, scheduler, average, run, evaluate)

    # After the checkpoint: a training that is finished cannot be lost to a figure or a video.
    if not generated and not all((folder / name).exists() for name in [*FILES, *map(os.path.abspath, videos)]):
        generate()
    if generated:
        draw_results(run, data, baralphas, *generated, kept, videos)
    run.finish()
    print(in_words(run.history[-1]))
    return folder, videos
