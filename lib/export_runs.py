"""What the explorer page gets of each run: the model's weights, and some data to show.

Everything is a dict of plain values and numpy arrays.
"""
import io
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lib.checkpoint import CHECKPOINT, RENAMED, load_checkpoint, load_part, read_checkpoint
from lib.densities import DENSITIES, checksum, get_dataset
from lib.digits import Digits
from lib.export_layers import CONVOLUTION, LINEAR, TRANSPOSED, Export, choose_levels, export_layer
from lib.load_gan import load_generator
from lib.load_vae import load_vae
from lib.model_diffusion import SimpleDiffusion
from lib.sample_diffusion import sample_ddim
from lib.sample_gan import generate, prepare_generator, sample_noise
from lib.script import UserError
from lib.utils import SCHEDULES

POINTS = 2000                                       # test images, or points of a density
MANY, BINS, RANGE = 100_000, 120, 2.5               # points in the picture of a density, from -RANGE to RANGE
SNAPSHOTS, SHOWN, TITLE = 20, 4 * 34 + 2, 30        # at most; pixels of 4 by 4 images, and of a snapshot's title


@torch.no_grad()
def export_vae(folder: Path, digits: Callable[[str], Digits]) -> Export:
    """Export a run of the VAE: its five layers, and mu and logvar of the sampled test images.

    Args:
        digits: loads a dataset by name.

    Raises:
        UserError, RunError: the run or its dataset cannot be used.
    """
    model, checkpoint = load_vae(folder)
    settings = checkpoint["settings"]
    images = sample_images(digits(settings["dataset"]))["images"]
    x = torch.from_numpy(images).float()[:, None] / 255
    mu, logvar = model.encode(x)
    variance = torch.exp(logvar)
    if not (torch.isfinite(mu).all() and torch.isfinite(variance).all()):
        raise UserError(f"the encodings of {folder} are not finite numbers")
    sigma = torch.sqrt(variance)
    low, high = torch.quantile(mu - sigma, 0.01, dim=0), torch.quantile(mu + sigma, 0.99, dim=0)
    random = torch.Generator().manual_seed(0)
    latents = settings["latent_size"]               # where a hand may move: on the axes, and on the sliders
    z = torch.cat([mu[:100], 2 * torch.randn(400, latents, generator=random),
                   low + (1.2 * torch.rand(400, latents, generator=random) - 0.1) * (high - low)])
    layers = find_layers(model, x, z, folder)
    inputs = torch.cat([x, torch.rand(500, 1, 28, 28, generator=random)])   # whatever a hand may draw
    levels = {"encoder": choose_levels(model, lambda model: model.encode(inputs)),
              "decoder": choose_levels(model, lambda model: [model.decode(z)])}
    return {"dataset": settings["dataset"], "kl_loss_weight": settings["kl_loss_weight"],
            "latent_size": latents, "epochs": len(checkpoint["history"]),
            "layers": {name: export_layer(layer, levels[name[:7]]) for name, layer in layers.items()},
            "mu": mu.numpy(), "logvar": logvar.numpy(), "low": low.numpy(), "high": high.numpy()}


def find_layers(model: Any, x: Tensor, z: Tensor, folder: Path) -> Dict[str, Any]:
    """Find the five layers of a VAE by what they do, since students name and nest them as they like."""
    called: List[Any] = []                          # pairs of a layer and its output
    hooks = [layer.register_forward_hook(lambda layer, _, output: called.append((layer, output)))
             for layer in model.modules() if isinstance(layer, LINEAR)]
    (mu, logvar), decoded = model.encode(x), model.decode(z)
    for hook in hooks:
        hook.remove()
    if len(called) == 5:
        heads = called[1:3] if torch.equal(called[1][1], mu) else called[2:0:-1]
        order = [called[0], *heads, *called[3:]]
        names = ("encoder_hidden", "encoder_mu", "encoder_logvar", "decoder_hidden", "decoder_output")
        found = {name: layer for name, (layer, _) in zip(names, order)}
        hidden = torch.relu(found["encoder_hidden"](x.flatten(1)))
        pixels = torch.sigmoid(found["decoder_output"](torch.relu(found["decoder_hidden"](z))))
        pairs = ((found["encoder_mu"](hidden), mu), (found["encoder_logvar"](hidden), logvar),
                 (pixels.view_as(decoded), decoded))
        if all(torch.allclose(one, other, atol=1e-5) for one, other in pairs):
            return found
    raise UserError(f"the VAE of {folder} is not that of the exercise: the page cannot compute it")


def sample_images(digits: Digits) -> Export:
    """Return images: N,28,28 in uint8 and labels: N of up to POINTS test images, the same for all runs."""
    chosen = torch.randperm(len(digits.test_images), generator=torch.Generator().manual_seed(0))[:POINTS]
    return {"images": digits.test_images[chosen, 0].numpy(),
            "labels": digits.test_labels[chosen].numpy().astype(np.uint8)}


def export_diffusion(folder: Path) -> Export:
    """Export a run of the diffusion model: its network (the EMA), its schedule and its data.

    Raises:
        UserError: the run cannot be used, or its density is an image that is missing or has changed.
    """
    checkpoint = load_checkpoint(folder)
    settings = checkpoint["settings"]
    kinds = {"dataset": str, "diffusion_steps": int, "n_blocks": int, "n_units": int, "n_samples": int, "seed": int,
             "schedule": str, "time_embedding": str, "point_embedding": str, "activation": str}
    for name, kind in kinds.items():
        if type(settings.get(name)) is not kind or name == "schedule" and settings[name] not in SCHEDULES:
            raise UserError(f"{folder / CHECKPOINT} is damaged: its {name} is {settings.get(name)!r}")
    if settings["dataset"] not in DENSITIES and checksum(settings["dataset"]) != settings.get("checksum"):
        raise UserError(f"{settings['dataset']} has changed since {folder} was trained on it")
    steps = settings["diffusion_steps"]
    try:
        model = SimpleDiffusion(2, settings["n_blocks"], settings["n_units"], settings["time_embedding"], steps,
                                settings["point_embedding"], settings["activation"])
        baralphas, alphas, betas = SCHEDULES[settings["schedule"]](steps)
        data = get_dataset(settings["dataset"], settings["n_samples"], np.random.default_rng(settings["seed"]))
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{folder / CHECKPOINT} is damaged: {error}") from error
    load_part(model, {**checkpoint, "model": checkpoint.get("ema", checkpoint.get("model"))}, "model", folder)
    clip, random = float(np.abs(data).max()), torch.Generator().manual_seed(0)
    noise, t = torch.randn(200, 2, generator=random), torch.randint(0, steps, (200, 1), generator=random)
    schedule = baralphas, alphas, betas
    if not torch.isfinite(sample_ddim(model, noise, schedule, min(steps, 20), clip)).all():
        raise UserError(f"the points that {folder} generates are not finite numbers")
    levels = choose_levels(model, lambda model: [model(1.5 * noise, t),
                                                 sample_ddim(model, noise, schedule, min(steps, 20), clip)])
    many = get_dataset(settings["dataset"], MANY, np.random.default_rng(settings["seed"]))
    counts, _, _ = np.histogram2d(many[:, 1], many[:, 0], BINS, [[-RANGE, RANGE]] * 2)  # rows: upwards
    density = np.sqrt(np.minimum(counts / max(np.quantile(counts[counts > 0], 0.95), 1e-9), 1))
    return {"dataset": Path(settings["dataset"]).name, "epochs": len(checkpoint["history"]),
            "schedule": settings["schedule"], "time_embedding": settings["time_embedding"],
            "point_embedding": settings["point_embedding"], "activation": settings["activation"],
            "layers": [export_layer(layer, levels) for layer in model.layers], "baralphas": baralphas.numpy(),
            "alphas": alphas.numpy(), "betas": betas.numpy(), "clip": clip, "data": data[:POINTS],
            "density": (255 * density).astype(np.uint8), "range": RANGE}


def export_gan(path: Path) -> Export:
    """Export a run of the GAN, or a file that contains only a generator: its generators, and its snapshots.

    Raises:
        UserError: there is no generator, it is damaged, or it has other layers than the exercise's.
    """
    file = path if path.is_file() else path / CHECKPOINT
    content = read_checkpoint(file)
    parts = {RENAMED.get(name, name) for name in content} if isinstance(content, dict) else set()
    names = [name for name in ("ema", "generator") if name in parts] or ["generator"]
    generators = [load_generator(file, name) for name in names]
    latent_size = next(generators[0].parameters()).shape[0]
    history = content.get("history") if isinstance(content, dict) else None
    return {"latent_size": latent_size, "epochs": len(history or []), "snapshots": find_snapshots(path),
            "generators": dict(zip(names, _export_generators(generators, latent_size)))}


@torch.no_grad()
def _export_generators(generators: Sequence[nn.Module], latent_size: int) -> List[Export]:
    """Export the five convolutions of each generator, ready for sampling (see prepare_generator): those of the first
    one, and the differences to them.
    """
    generators = [prepare_generator(generator, latent_size) for generator in generators]
    noise = sample_noise(96, latent_size, seed=1)
    for k in range(0, 96, 2):                       # a hand may move a latent to one end of its slider
        noise[k, k // 2 % latent_size] = 4 if k % 4 else -4
    pairs = [find_convolutions(generator, noise) for generator in generators]
    levels = [choose_levels(generator, lambda generator: [generate(generator, noise)]) for generator in generators]
    return [{"layers": [export_layer(layer, max(levels) if all(levels) else 0, norm, base if number else None)
                        for (layer, norm), (base, _) in zip(pairs[number], pairs[0])]}
            for number in range(len(generators))]


def find_convolutions(generator: nn.Module, noise: Tensor) -> List[Tuple[Any, Any]]:
    """Return the five convolutions of a generator, each with the batch norm that follows it (None after the last one).

    Raises:
        UserError: they do not give its images, or these are not finite.
    """
    images = generate(generator, noise)
    if not torch.isfinite(images).all():
        raise UserError("the generated images are not finite numbers")
    *convolutions, last = [layer for layer in generator.modules() if isinstance(layer, (TRANSPOSED, CONVOLUTION))]
    norms: List[Any] = [layer for layer in generator.modules() if isinstance(layer, nn.BatchNorm2d)]
    try:
        x, sides = noise, []
        for layer, norm in zip(convolutions, norms):
            x = torch.relu(norm(layer(x)))
            sides.append(x.shape[-1])
        is_known = (len(convolutions) == len(norms) and sides == [4, 8, 16, 32]
                    and [layer.kernel_size[0] for layer in convolutions] == [4, 4, 4, 4]
                    and last.kernel_size[0] == 3 and torch.allclose(torch.tanh(last(x)), images, atol=1e-5))
    except RuntimeError:                            # a layer does not fit the one before
        is_known = False
    if not is_known:
        raise UserError("the generator is not that of the exercise: the page cannot compute it")
    return [*zip(convolutions, norms), (last, None)]


def find_snapshots(folder: Path) -> Export:
    """Return the first 4 by 4 images of a training's snapshots, side by side in one JPEG, and their steps.

    A snapshot (see draw_gan.save_panels) shows every pixel as 2 by 2, below a title; its last panel is taken.
    """
    paths = sorted(folder.glob(f"generated_{6 * '[0-9]'}.png"))
    places = np.linspace(0, len(paths) - 1, min(len(paths), SNAPSHOTS)).astype(int)
    steps, panels = [], []
    for path in (paths[place] for place in places):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
        side = pixels.shape[0] - TITLE
        panel = pixels[TITLE::2, pixels.shape[1] - side::2][:SHOWN, :SHOWN]
        if panel.shape == (SHOWN, SHOWN, 3):
            steps.append(int(path.stem[-6:]))
            panels.append(panel)
    if not panels:
        return {"steps": [], "side": SHOWN}
    data = io.BytesIO()
    Image.fromarray(np.concatenate(panels, axis=1)).save(data, "JPEG", quality=75, subsampling=0)
    return {"steps": steps, "side": SHOWN, "jpeg": np.frombuffer(data.getvalue(), np.uint8)}
