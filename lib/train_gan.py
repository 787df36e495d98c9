"""Training a GAN (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661).

Two networks take turns, and each learns from the other. They play a game for the value

    min over G  max over D   E[log D(x)] + E[log(1 - D(G(z)))],     x a real image, z noise,

which is high as long as the discriminator D can tell real images from those that the generator G generates from noise.
In the code, generated images are also called fake: both words mean the same.

Shapes: B batch, C channels, L latent size; images are B,C,32,32 with values in [-1, 1].
"""
import math
import zlib
from copy import deepcopy
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lib.augment_gan import DiffAugment
from lib.image_folder import Images, load_images
from lib.monitor_gan import FILES, Monitor, metric_names, summary
from lib.optimize import make_adam, update_ema
from lib.run import Run, choose_device, settings_of
from lib.script import say


def update_discriminator(discriminator: nn.Module, generator: nn.Module, real_images: Tensor, noise: Tensor,
                         label: Tensor, optimizerD: torch.optim.Optimizer
                         ) -> Tuple[Tensor, float, Tensor, float, Tensor]:
    """Take one step of the discriminator: towards 1 for real images and 0 for generated ones.

    The two batches pass through it one after the other, because batch norm would mix them; their gradients add up.

    Args:
        real_images: B,C,32,32
        noise: B,L,1,1 to generate images from.
        label: B ones, the label of real images.

    Returns:
        errD_real: binary cross entropy of the real batch, averaged over the batch.
        D_x: mean output of the discriminator for the real batch.
        errD_fake: binary cross entropy of the generated batch.
        D_G_z1: mean output of the discriminator for the generated batch.
        fake_images: B,C,32,32 the generated batch with its graph, from which the generator learns next.
    """
    global F, math, nn, torch  # noqa: F824 - otherwise an import of these in one gap would hide them in the other
    # START TODO 3.2 ########################
    # Set the gradients of the discriminator to zero. Pass the real images through it and reshape its outputs to the
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
    # Generate fake_images from the noise. Pass them through the discriminator, detached: this step must not reach the
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
    """Take one step of the generator: towards images that the discriminator, as it is now, considers real.

    In the game above it would minimise log(1 - D(G(z))), whose slope vanishes where D is sure that an image is
    generated, as it is at first. It minimises -log D(G(z)) instead, the non-saturating loss, whose slope is steepest
    there.

    Args:
        fake_images: B,C,32,32 images of the generator, with their graph.
        label: B ones, the label of real images.

    Returns:
        errG: binary cross entropy, averaged over the batch.
        D_G_z2: mean output of the discriminator.
    """
    # START TODO 3.2 ########################
    # Set the gradients of the generator to zero. Pass the fake images through the discriminator, this time with their
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


def train_epoch(discriminator: nn.Module, generator: nn.Module, ema: Optional[nn.Module], images: Images,
                optimizerD: torch.optim.Optimizer, optimizerG: torch.optim.Optimizer, args: Any, epoch: int,
                after_step: Callable[[int], None]) -> Dict[str, float]:
    """Train on all images once.

    Args:
        ema: a copy of the generator whose weights become a moving average of the generator's, or None.
        args: has batch_size, latent_size, ema_steps and num_epochs.
        epoch: counted from 1.
        after_step: called with the number of each step, counted from 1 in the first epoch.

    Returns:
        Both losses and the discriminator's outputs, averaged over the steps.
    """
    generator.train()
    discriminator.train()
    steps_per_epoch = math.ceil(len(images) / args.batch_size)
    names = "loss_D", "loss_G", "D_x", "D_G_z1", "D_G_z2"
    rows: List[List[Any]] = []
    bar = tqdm(images.batches(args.batch_size), f"epoch {epoch}/{args.num_epochs}", steps_per_epoch, leave=False,
               disable=None)
    for step, real_images in enumerate(bar, (epoch - 1) * steps_per_epoch + 1):
        # 1. Noise to generate from, and the label of real images.
        noise = torch.randn(len(real_images), args.latent_size, 1, 1, device=real_images.device)
        label = torch.ones(len(real_images), device=real_images.device)
        # 2. The discriminator learns to tell real images from generated ones.
        errD_real, D_x, errD_fake, D_G_z1, fake_images = update_discriminator(
            discriminator, generator, real_images, noise, label, optimizerD)
        # 3. The generator learns to fool it. The discriminator's weights need no gradients for that.
        discriminator.requires_grad_(False)
        errG, D_G_z2 = update_generator(discriminator, generator, fake_images, label, optimizerG)
        discriminator.requires_grad_(True)
        # 4. The moving average follows the generator. The first steps, fewer than ema_steps, all count equally.
        if ema is not None:
            update_ema(ema, generator, weight=max(1 / args.ema_steps, 1 / step))
        after_step(step)
        rows.append([(errD_real + errD_fake).detach(), errG.detach(), D_x, D_G_z1, D_G_z2])
    return {name: float(sum(values)) / steps_per_epoch for name, values in zip(names, zip(*rows))}


def memory_format(device: torch.device) -> torch.memory_format:
    """Return the memory layout for the networks.

    CPUs and CUDA convolve faster with channels last. On MPS, batch norm has had wrong gradients for inputs that are not
    contiguous (https://github.com/pytorch/pytorch/issues/134580).
    """
    return torch.channels_last if device.type in ("cpu", "cuda") else torch.contiguous_format


def train_gan(generator: nn.Module, discriminator: nn.Module, images: Images, args: Any, run: Run) -> None:
    """Train both networks, and save checkpoint, metrics and figures to the run's folder.

    Args:
        images: on the device to train on.
        args: the flags of run_gan_training.py.

    Raises:
        UserError: the folder cannot be written to.
        RunError: a loss is no longer finite, or the disk is full.
    """
    device = images.pixels.device
    for network in (generator, discriminator):
        network.to(device).to(memory_format=memory_format(device))
    optimizerD, optimizerG = (
        make_adam(network, args.lr, (args.beta1, 0.999)) for network in (discriminator, generator))
    ema = None if args.plain else deepcopy(generator)
    generators = {"generator": generator} if ema is None else {"generator": generator, "ema": ema}
    monitor = Monitor(generators, images, args, run)
    first_epoch = run.start(discriminator=discriminator, **generators, optimizerD=optimizerD, optimizerG=optimizerG)
    if first_epoch == 1:
        run.seed_epoch(0)
        monitor.begin()

    for epoch in range(first_epoch, args.num_epochs + 1):
        run.seed_epoch(epoch)
        with run.refusing_nan("the discriminator's outputs are no longer numbers from 0 to 1"):
            metrics = train_epoch(discriminator if args.plain else DiffAugment(discriminator), generator, ema, images,
                                  optimizerD, optimizerG, args, epoch, monitor.after_step)
        run.end_epoch({**metrics, **monitor.evaluate(epoch)})
        print(summary(run.history, args.num_epochs), flush=True)
    monitor.end(discriminator)
    run.finish()


def run_gan_training(args: Any) -> Path:
    """Do all that run_gan_training.py does.

    Args:
        args: the flags.

    Returns:
        The folder with the results.
    """
    from lib.model_gan import Discriminator, Generator, weights_init  # here: task 3.2 must work without task 3.1
    device, folder = choose_device(args.device), Path(args.output_dir or "results_gan")
    images = load_images(args.data_dir, 32, args.skip_bad, leave_out=[folder])
    checksum = f"{len(images)} of checksum {zlib.crc32(images.pixels.numpy().tobytes()):08x}"
    settings = {**settings_of(args, "num_epochs"), "images": checksum}
    run = Run(folder, settings, "run_gan_training", FILES, args.resume, args.overwrite, metric_names(args))
    run.check_epochs(args.num_epochs, "--num_epochs")
    say(f"training on {len(images):,} images from {args.data_dir}, on {device}")
    torch.manual_seed(args.seed)
    generator = Generator(args.ngf, latent_size=args.latent_size).apply(weights_init)
    discriminator = Discriminator(args.ndf).apply(weights_init)
    train_gan(generator, discriminator, images.to(device), args, run)
    return run.folder
