"""Sampling from a trained generator, and interpolating between samples.

Shapes: B batch, C channels, L latent size.
"""
from copy import deepcopy
from pathlib import Path
from typing import Any, Iterator, List

import torch
from torch import Tensor, nn

from lib.checkpoint import CHECKPOINT
from lib.draw_gan import TANH, save_interpolation_video, save_nearest
from lib.files import Folder
from lib.image_folder import load_images
from lib.load_gan import load_generator
from lib.pictures import save_image_grid
from lib.run import choose_device
from lib.script import RunError, UserError


def sample_noise(count: int, latent_size: int, temperature: float = 1.0, seed: int = 0) -> Tensor:
    """Sample count,L,1,1 noise with mean 0 and variance `temperature` (T in the exercise)."""
    return temperature ** 0.5 * torch.randn(count, latent_size, 1, 1, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def prepare_generator(generator: nn.Module, latent_size: int, batch_norm: str = "measured") -> nn.Module:
    """Return a copy of a generator that is ready for sampling; the generator itself is not changed.

    During training, batch norm uses the statistics of the current batch, so an image depends on its neighbours; for
    inference it keeps running averages. But those lag behind the weights, and an EMA of the weights has never been
    trained, so its statistics were never computed. Therefore they are measured again, as Izmailov et al. 2018 do
    (https://arxiv.org/abs/1803.05407).

    Args:
        batch_norm: "measured": use the statistics of 512 images, generated from noise of variance 1; "stored": use the
            generator's running averages; "batch": use each batch's own statistics, as in training.
    """
    generator = deepcopy(generator)
    if batch_norm == "measured":
        for layer in generator.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0                # use this one batch only
        generator.train()
        generator(sample_noise(512, latent_size).to(next(generator.parameters()).device))
    return generator.train(batch_norm == "batch")


@torch.no_grad()
def generate(generator: nn.Module, noise: Tensor) -> Tensor:
    """Generate B,C,32,32 images with values in [-1, 1] from B,L,1,1 noise, in chunks that save memory."""
    device = next(generator.parameters()).device
    return torch.cat([generator(part.to(device)) for part in noise.split(256)])


def interpolate(noise: Tensor, steps: int) -> Iterator[Tensor]:
    """Interpolate at constant speed from each latent to the next, and from the last back to the first.

    It follows arcs (spherical interpolation, slerp): in high dimensions almost all noise vectors have length close to
    sqrt(L), and the middle of a straight line would be shorter than anything seen in training (White 2016,
    https://arxiv.org/abs/1609.04468).

    Args:
        noise: K,B,L,1,1 batches of latents to pass through.
        steps: number of batches from each to the next.

    Yields:
        B,L,1,1
    """
    for here, there in zip(noise, noise.roll(-1, 0)):
        angle = torch.acos(torch.cosine_similarity(here, there, dim=1).clamp(-0.99, 0.99))[:, None]
        for part in torch.arange(steps) / steps:
            yield (torch.sin((1 - part) * angle) * here + torch.sin(part * angle) * there) / torch.sin(angle)


def run_sample_gan(args: Any) -> List[Path]:
    """Do all that sample_gan.py does.

    Args:
        args: the flags.

    Returns:
        The files written.
    """
    device, folder = choose_device(args.device), Path(args.output_dir or "results_gan")
    generator = load_generator(args.checkpoint or folder / CHECKPOINT, args.weights).to(device)
    latent_size = next(generator.parameters()).shape[0]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to the folder {folder}: {error.strerror}") from error
    wanted = {"samples.png": True, "samples_nearest.png": args.nearest, "interpolation.mp4": args.interpolate}
    files = [folder / name for name, is_wanted in wanted.items() if is_wanted]
    record = Folder(folder, "sample_gan", old=() if args.checkpoint else files)
    problem = record.foreign(files)
    if problem:
        raise UserError(problem)
    generator = prepare_generator(generator, latent_size, args.batch_norm)
    images = load_images(args.nearest, skip_bad=args.skip_bad, leave_out=[folder]) if args.nearest else None
    samples = generate(generator, sample_noise(args.num_images, latent_size, args.temperature, args.seed))
    if not torch.isfinite(samples).all():
        raise UserError("the generated images are not finite numbers: the generator's weights are damaged or far too "
                        "large")
    title = f"{args.num_images} samples at temperature {args.temperature:g}"
    with record.writing(files[0]) as path:
        save_image_grid(samples, path, title, value_range=TANH, max_images=len(samples))
    if images:
        with record.writing(folder / "samples_nearest.png") as path:
            save_nearest(samples, images, path)
    if args.interpolate:
        noise = sample_noise(args.interpolate * 32, latent_size, args.temperature, args.seed)
        batches = interpolate(noise.unflatten(0, (args.interpolate, 32)), 25)
        try:
            with record.writing(folder / "interpolation.mp4") as path:
                save_interpolation_video([generate(generator, batch) for batch in batches], 25, path)
        except RunError as error:
            raise RunError(f"{error}. The images are saved; omit --interpolate to skip the video") from error
    return files
