"""Training a GAN (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661): two networks learn by turns, each from the
other one. They play a game for the value

    min over G  max over D   E[log D(x)] + E[log(1 - D(G(z)))],     x a real picture, z noise,

which is high as long as the discriminator D tells the real pictures from those that the generator G makes of noise.

Shapes: B batch, C channels, L latent size; pictures are B,C,32,32 with values in [-1, 1].
"""
import math
import zlib
from copy import deepcopy
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lib.augment_gan import DiffAugment
from lib.image_folder import Images, load_images
from lib.run import Run, choose_device
from lib.script import say
from lib.monitor_gan import FILES, Watch, in_words, metric_names


def update_discriminator(discriminator: nn.Module, generator: nn.Module, real_images: Tensor, noise: Tensor,
                         label: Tensor, optimizerD: torch.optim.Optimizer
                         ) -> Tuple[Tensor, float, Tensor, float, Tensor]:
    """One step of the discriminator: towards 1 for real pictures and 0 for generated ones.

    The two batches go through it one after the other, as batch norm would mix them up; their gradients add up.

    Args:
        real_images: B,C,32,32
        noise: B,L,1,1 that the generator makes its pictures of.
        label: B ones, the label of real pictures.

    Returns:
        errD_real: binary cross entropy of the real batch, a mean over the batch.
        D_x: mean of the discriminator's outputs for it.
        errD_fake: binary cross entropy of the generated batch.
        D_G_z1: mean of the discriminator's outputs for it.
        fake_images: B,C,32,32 the generated batch, with its graph, from which the generator learns next.
    """
    global F, math, nn, torch       # otherwise an import of these in one gap would hide them in the other one
    # START TODO 3.2 ########################
    # Set the gradients of the discriminator to zero. Put the real images through it and bring its outputs into the
    # shape of the label. errD_real is their binary cross entropy with the label; backpropagate it. D_x is the mean of
    # the outputs, as a float.
    # BEGIN SOLUTION
    optimizerD.zero_grad()
    output = discriminator(real_images).view(-1)
    errD_real = F.binary_cross_entropy(output, label)
    errD_real.backward()
    D_x = output.mean().item()
    # END SOLUTION
    # END TODO 3.2 ########################

    # START TODO 3.2 ########################
    # Generate fake_images from the noise. Put them through the discriminator, detached: this step must not reach the
    # generator. errD_fake is the binary cross entropy with the label of generated images, 0; backpropagate it. D_G_z1
    # is the mean of the outputs, as a float. Then take one step of the optimizer.
    # BEGIN SOLUTION
    fake_images = generator(noise)
    output = discriminator(fake_images.detach()).view(-1)
    errD_fake = F.binary_cross_entropy(output, torch.zeros_like(label))
    errD_fake.backward()
    D_G_z1 = output.mean().item()
    optimizerD.step()
    # END SOLUTION
    # END TODO 3.2 ########################
    return errD_real, D_x, errD_fake, D_G_z1, fake_images


def update_generator(discriminator: nn.Module, generator: nn.Module, fake_images: Tensor, label: Tensor,
                     optimizerG: torch.optim.Optimizer) -> Tuple[Tensor, float]:
    """One step of the generator: towards pictures that the discriminator, as it is now, takes for real.

    The game would have it minimise log(1 - D(G(z))), whose slope vanishes where D is sure that a picture is generated,
    as it is at first. It minimises -log D(G(z)) instead, the non-saturating loss, whose slope is steepest there.

    Args:
        fake_images: B,C,32,32 that the generator has made, with their graph.
        label: B ones, the label of real pictures.

    Returns:
        errG: binary cross entropy, a mean over the batch.
        D_G_z2: mean of the discriminator's outputs.
    """
    # START TODO 3.2 ########################
    # Set the gradients of the generator to zero. Put the fake images through the discriminator, this time with their
    # graph. errG is the binary cross entropy of its outputs with the label of real images; backpropagate it. D_G_z2 is
    # the mean of the outputs, as a float. Then take one step of the optimizer.
    # BEGIN SOLUTION
    optimizerG.zero_grad()
    output = discriminator(fake_images).view(-1)
    errG = F.binary_cross_entropy(output, label)
    errG.backward()
    D_G_z2 = output.mean().item()
    optimizerG.step()
    # END SOLUTION
    # END TODO 3.2 ########################
    return errG, D_G_z2


@torch.no_grad()
def update_ema(average: nn.Module, model: nn.Module, step: int, memory: float) -> None:
    """Let a copy follow the model: an exponential moving average (EMA) over about the last `memory` steps.

    Args:
        step: counted from 1. As long as there are fewer steps than the memory is long, all count alike.
    """
    for mean, value in zip(average.state_dict().values(), model.state_dict().values()):
        if value.is_floating_point():               # weights, and batch norm's running statistics; not its counter
            mean.lerp_(value, max(1 / memory, 1 / step))


def train_epoch(discriminator: nn.Module, generator: nn.Module, average: Optional[nn.Module], pictures: Images,
                optimizerD: torch.optim.Optimizer, optimizerG: torch.optim.Optimizer, args: Any, epoch: int,
                after_step: Callable[[int], None]) -> Dict[str, float]:
    """Train on all pictures once.

    Args:
        average: of the generator's weights, if there is to be one.
        args: has batch_size, latent_size, average_over and num_epochs.
        epoch: counted from 1.
        after_step: called with the number of each step, counted from 1 in the first epoch.

    Returns:
        The mean of both losses and of the discriminator's outputs over the steps.
    """
    generator.train()
    discriminator.train()
    steps, notes = math.ceil(len(pictures) / args.batch_size), []
    bar = tqdm(pictures.batches(args.batch_size), f"epoch {epoch}/{args.num_epochs}", steps, leave=False, disable=None)
    for step, real_images in enumerate(bar, (epoch - 1) * steps + 1):
        # 1. Noise to generate from, and the label of real pictures.
        noise = torch.randn(len(real_images), args.latent_size, 1, 1, device=real_images.device)
        label = torch.ones(len(real_images), device=real_images.device)
        # 2. The discriminator learns to tell the real pictures from generated ones.
        errD_real, D_x, errD_fake, D_G_z1, fake_images = update_discriminator(
            discriminator, generator, real_images, noise, label, optimizerD)
        # 3. The generator learns to have them taken for real. The discriminator's weights need no gradients for that.
        discriminator.requires_grad_(False)
        errG, D_G_z2 = update_generator(discriminator, generator, fake_images, label, optimizerG)
        discriminator.requires_grad_(True)
        # 4. The average follows the generator.
        if average is not None:
            update_ema(average, generator, step, args.average_over)
        after_step(step)
        notes.append([(errD_real + errD_fake).detach(), errG.detach(), D_x, D_G_z1, D_G_z2])
    return {name: float(sum(values)) / steps
            for name, values in zip(("loss_D", "loss_G", "D_x", "D_G_z1", "D_G_z2"), zip(*notes))}


def make_optimizers(discriminator: nn.Module, generator: nn.Module, args: Any) -> Sequence[torch.optim.Optimizer]:
    """Adam for the discriminator and for the generator, with the paper's short memory, --beta1."""
    fused = next(generator.parameters()).device.type != "mps"   # one kernel for all weights; only newer MPS has it
    return [torch.optim.Adam(network.parameters(), args.lr, (args.beta1, 0.999), fused=fused)
            for network in (discriminator, generator)]


def memory_format(device: torch.device) -> torch.memory_format:
    """Return the layout of the networks: with the channels last, CPUs and CUDA convolve faster, but on MPS batch norm
    has had wrong gradients for inputs that are not contiguous (https://github.com/pytorch/pytorch/issues/134580).
    """
    return torch.channels_last if device.type in ("cpu", "cuda") else torch.contiguous_format


def train_gan(generator: nn.Module, discriminator: nn.Module, pictures: Images, args: Any, run: Run) -> None:
    """Train both networks, and leave checkpoint, metrics and pictures in the run's folder.

    Args:
        pictures: on the device to train on.
        args: the flags of run_gan_training.py.

    Raises:
        UserError: the folder cannot be written to.
        RunError: a loss is no longer finite, or the disk is full.
    """
    device = pictures.pixels.device
    networks = {"generator": generator, "discriminator": discriminator}
    for network in networks.values():
        network.to(device, memory_format=memory_format(device))
    optimizers = make_optimizers(discriminator, generator, args)
    average = None if args.plain else deepcopy(generator)
    shown = {"generator": generator} if args.plain else {"generator": generator, "average": average}
    watch = Watch(shown, pictures, args, run)
    first_epoch = run.start(**{**networks, **shown}, optimizerD=optimizers[0], optimizerG=optimizers[1])
    if first_epoch == 1:
        run.seed_epoch(0)
        watch.begin()

    for epoch in range(first_epoch, args.num_epochs + 1):
        run.seed_epoch(epoch)
        with run.refusing_nan("the discriminator's outputs are no longer numbers from 0 to 1"):
            metrics = train_epoch(discriminator if args.plain else DiffAugment(discriminator), generator, average,
                                  pictures, *optimizers, args, epoch, watch.after_step)
        run.end_epoch({**metrics, **watch.distances(epoch)})
        print(in_words(run.history, args.num_epochs), flush=True)
    watch.end(run.history, discriminator)
    run.finish()


def run_gan_training(args: Any) -> Path:
    """All that run_gan_training.py does.

    Args:
        args: the flags.

    Returns:
        The folder with the results.
    """
    from lib.model_gan import Discriminator, Generator, weights_init    # here: task 3.2 does without task 3.1
    device, folder = choose_device(args.device), Path(args.output_dir or "results_gan")
    pictures = load_images(args.data_dir, 32, args.skip_bad, leave_out=[folder])
    settings = {name: getattr(args, name) for name in (
        "batch_size", "latent_size", "ngf", "ndf", "lr", "beta1", "plain", "average_over", "sample_every",
        "evaluate_every", "seed")}
    settings["pictures"] = f"{len(pictures)} of checksum {zlib.crc32(pictures.pixels.numpy().tobytes()):08x}"
    run = Run(folder, settings, "run_gan_training", FILES, args.resume, args.overwrite, metric_names(args))
    run.check_epochs(args.num_epochs, "--num_epochs")
    say(f"training on {len(pictures):,} pictures of {args.data_dir}, on {device}")
    torch.manual_seed(args.seed)
    generator = Generator(args.ngf, latent_size=args.latent_size).apply(weights_init)
    discriminator = Discriminator(args.ndf).apply(weights_init)
    train_gan(generator, discriminator, pictures.to(device), args, run)
    return run.folder
