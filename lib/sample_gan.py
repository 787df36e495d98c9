"""Pictures from a trained generator: draws, and a walk from one to the next.

Shapes: B batch, C channels, L latent size.
"""
from copy import deepcopy
from pathlib import Path
from typing import Any, Dict, Iterator, List, Union

import torch
from torch import Tensor, nn

from lib.checkpoint import CHECKPOINT, check_tensor, read_checkpoint
from lib.draw_gan import save_nearest, save_interpolation_video
from lib.files import Folder
from lib.image_folder import load_images
from lib.pictures import save_image_grid
from lib.run import choose_device
from lib.script import RunError, UserError

BATCH_NORM = ("measured", "stored", "batch")


def sample_noise(count: int, latent_size: int, temperature: float = 1.0, seed: int = 0) -> Tensor:
    """count,L,1,1 noise of mean 0 and variance `temperature`, which is T in the exercise."""
    return temperature ** 0.5 * torch.randn(count, latent_size, 1, 1, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def ready(generator: nn.Module, latent_size: int, batch_norm: str = "measured") -> nn.Module:
    """A copy of a generator to make pictures with; the generator itself stays as it is.

    In training, batch norm takes mean and variance from the batch that it is given. A picture then depends on those
    beside it; for later, batch norm stores averages over the last steps. But the weights have moved on since, and those
    of averaged weights were never seen: so they are measured anew (as Izmailov et al. 2018 do,
    https://arxiv.org/abs/1803.05407).

    Args:
        batch_norm: "measured": take the statistics of 512 pictures, made for that of noise of variance 1; "stored":
            take those that the generator holds; "batch": of each batch its own, as in training.
    """
    generator = deepcopy(generator)
    if batch_norm == "measured":
        for layer in generator.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0                # this one batch counts, nothing before it
        generator.train()
        generator(sample_noise(512, latent_size).to(next(generator.parameters()).device))
    return generator.train(batch_norm == "batch")


@torch.no_grad()
def generate(generator: nn.Module, noise: Tensor) -> Tensor:
    """B,C,32,32 pictures from B,L,1,1 noise, in [-1, 1], in parts that are easy on the memory."""
    device = next(generator.parameters()).device
    return torch.cat([generator(part.to(device)) for part in noise.split(256)])


def walk(noise: Tensor, steps: int) -> Iterator[Tensor]:
    """A way from each noise to the next and from the last back to the first, at a steady pace.

    It goes along arcs: in so many dimensions nearly all noise is about as long as the root of L, and on a straight
    line the middle would be shorter than anything that the generator has seen (White 2016,
    https://arxiv.org/abs/1609.04468).

    Args:
        noise: K,B,L,1,1: K stations of B pictures.
        steps: from one station to the next.

    Yields:
        B,L,1,1
    """
    for here, there in zip(noise, noise.roll(-1, 0)):
        angle = torch.acos(torch.cosine_similarity(here, there, dim=1).clamp(-0.99, 0.99))[:, None]
        for part in torch.arange(steps) / steps:
            yield (torch.sin((1 - part) * angle) * here + torch.sin(part * angle) * there) / torch.sin(angle)


def find_weights(content: Any, prefer: str = "average") -> Dict[str, Tensor]:
    """The weights of a generator in what a checkpoint holds, whatever their names and whatever they are packed in.

    Args:
        prefer: the name of the part to look at first.

    Returns:
        Convolutions and batch norms in the order of the layers, without the counters of batch norm; or an empty dict.
    """
    if not isinstance(content, dict):
        return {}
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    kernels = [value.shape[2:] for value in tensors.values() if value.dim() == 4]
    if kernels == 4 * [(4, 4)] + [(3, 3)]:
        return {name: value for name, value in tensors.items() if value.dim()}
    parts: Dict[str, Any] = {name: value for name, value in content.items() if isinstance(value, dict)}
    for name, value in tensors.items():             # of several networks: generator.layers.0.weight and so on
        first, _, rest = str(name).partition(".")
        if rest:
            parts.setdefault(first, {})[rest] = value
    return next(filter(None, (find_weights(parts[name], prefer) for name in (prefer, *parts) if name in parts)), {})


def load_generator(path: Union[str, Path], prefer: str = "average") -> nn.Module:
    """The generator of a checkpoint, of this project or of an earlier year, with the sizes that its weights have.

    They are recognised by order and shape: what their names are, and how the layers are packed, does not matter.

    Args:
        prefer: "average" or "generator", where the checkpoint of a run holds both.

    Raises:
        UserError: there is no such file, it is damaged, or it holds no generator of this kind.
    """
    from lib.model_gan import Generator             # here: task 3.2 does without task 3.1
    weights = find_weights(read_checkpoint(path), prefer)
    if not weights:
        raise UserError(f"{path} holds no generator: four kernels of 4 by 4 and a last one of 3 by 3 are not in it")
    try:
        for name, value in weights.items():
            check_tensor(value, name)
            if not value.is_floating_point() or name.endswith("running_var") and bool((value < 0).any()):
                raise ValueError(f"the type or the range of {name}")
    except Exception as error:                      # torch raises many kinds for odd tensors
        raise UserError(f"{path} is damaged: {error}")
    values = list(weights.values())
    (latent_size, width), channels = values[0].shape[:2], values[-1].shape[0]
    if channels not in (1, 3) or not latent_size:
        raise UserError(f"{path} makes images with {channels} channels of {latent_size} latents: only images with 1 or "
                        "3 channels of 1 latent or more can be drawn")
    generator = Generator(max(width // 8, 1), channels, latent_size)
    own = {name: value for name, value in generator.state_dict().items() if value.dim()}
    if [value.shape for value in values] != [value.shape for value in own.values()]:
        raise UserError(f"{path} does not fit the Generator of lib/model_gan.py: its weights have other shapes, or "
                        "come in another order")
    generator.load_state_dict(dict(zip(own, values)), strict=False)         # without the counters
    return generator


def run_sample_gan(args: Any) -> List[Path]:
    """All that sample_gan.py does.

    Args:
        args: the flags.

    Returns:
        The files that it has written.
    """
    device, folder = choose_device(args.device), Path(args.output_dir or "results_gan")
    generator = load_generator(args.checkpoint or folder / CHECKPOINT, args.weights).to(device)
    latent_size = next(generator.parameters()).shape[0]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to the folder {folder}: {error.strerror}")
    files = [folder / name for name, is_made in (
        ("samples.png", True), ("samples_nearest.png", args.nearest), ("walk.mp4", args.walk)) if is_made]
    record = Folder(folder, "sample_gan", old=() if args.checkpoint else files)
    problem = record.foreign(files)
    if problem:
        raise UserError(problem)
    generator = ready(generator, latent_size, args.batch_norm)
    pictures = load_images(args.nearest, skip_bad=args.skip_bad, leave_out=[folder]) if args.nearest else None
    images = generate(generator, sample_noise(args.num_images, latent_size, args.temperature, args.seed))
    if not torch.isfinite(images).all():
        raise UserError("the generator makes images that are not numbers: its weights are damaged or far too large")
    title = f"{args.num_images} draws at temperature {args.temperature:g}"
    with record.writing(files[0]) as path:
        save_image_grid(images / 2 + 0.5, path, title, max_images=len(images), normalize=False)
    if pictures:
        with record.writing(folder / "samples_nearest.png") as path:
            save_nearest(images, pictures, path)
    if args.walk:
        noise = sample_noise(args.walk * 32, latent_size, args.temperature, args.seed).unflatten(0, (args.walk, 32))
        try:
            with record.writing(folder / "walk.mp4") as path:
                save_interpolation_video([generate(generator, here) for here in walk(noise, 25)], 25, path)
        except RunError as error:
            raise RunError(f"{error}. The images are there: without --walk there is no video")
    return files
