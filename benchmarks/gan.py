"""Time the project's GAN epoch and a textbook's side by side, on a folder of images.

Both train the same networks with the same batches and precision, in the same process, taking turns epoch by epoch.
The textbook's loop is what most tutorials show: an ImageFolder whose transforms decode, scale and crop every image
again, in a DataLoader with two workers, and .item() in every step. The project's default training (batches of 32,
DiffAugment, an EMA of the weights) is timed as well. Snapshots and distances are not included.
"""
import argparse
from statistics import median
from types import SimpleNamespace

from benchmarks import add_shared_flags, describe, seconds
from lib.script import integer

SIZE = 2048                                         # of the square matrices whose product gives the machine's peak


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_shared_flags(parser)
    parser.add_argument("--data_dir", default="dataset_flowers_64px", help="default: %(default)s")
    parser.add_argument("--epochs", type=integer(1), default=9, help="epochs of each (default: %(default)s)")
    parser.set_defaults(function=main)


def textbook_loader(data_dir: str, batch_size: int):
    """Return batches of B,3,32,32 images in [-1, 1] and of unused labels."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms
    change = transforms.Compose([
        transforms.Resize(32), transforms.RandomChoice([transforms.RandomCrop(32), transforms.CenterCrop(32)]),
        transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])
    return DataLoader(datasets.ImageFolder(data_dir, change), batch_size, shuffle=True, num_workers=2)


def textbook_epoch(discriminator, generator, loader, optimizerD, optimizerG, device) -> None:
    import torch
    from torch import nn
    criterion = nn.BCELoss()
    for real_images, _ in loader:
        real_images = real_images.to(device)
        discriminator.zero_grad()
        label = torch.full((len(real_images),), 1.0, device=device)
        output = discriminator(real_images).view(-1)
        errD_real = criterion(output, label)
        errD_real.backward()
        output.mean().item()
        fake_images = generator(torch.randn(len(real_images), 64, 1, 1, device=device))
        label.fill_(0.0)
        output = discriminator(fake_images.detach()).view(-1)
        errD_fake = criterion(output, label)
        errD_fake.backward()
        output.mean().item()
        optimizerD.step()
        generator.zero_grad()
        label.fill_(1.0)
        output = discriminator(fake_images).view(-1)
        errG = criterion(output, label)
        errG.backward()
        output.mean().item()
        optimizerG.step()
        errD_real.item() + errD_fake.item() + errG.item()


def main(args: argparse.Namespace) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from lib.augment_gan import DiffAugment
    from lib.image_folder import load_images
    from lib.model_gan import Discriminator, Generator, weights_init
    from lib.optimize import make_adam
    from lib.train_gan import memory_format, train_epoch

    device, number, channels = args.device, 2 if args.small else args.epochs, 2 if args.small else 32
    start = seconds(lambda: load_images(args.data_dir))
    images, loader = load_images(args.data_dir).to(device), textbook_loader(args.data_dir, 128)

    def networks():
        torch.manual_seed(0)
        return [network.to(device).apply(weights_init) for network in (Discriminator(channels), Generator(channels))]

    def ours():
        return [network.to(memory_format=memory_format(torch.device(device))) for network in networks()]

    def project(plain: bool):
        flags = SimpleNamespace(batch_size=128 if plain else 32, latent_size=64, ema_steps=500, num_epochs=1)
        discriminator, generator = ours()
        optimizers = [make_adam(network, 2e-4, (0.5, 0.999)) for network in (discriminator, generator)]
        ema = None if plain else ours()[1]
        seen_by = discriminator if plain else DiffAugment(discriminator)
        return lambda: train_epoch(seen_by, generator, ema, images, *optimizers, flags, 1, lambda step: None)

    discriminator, generator = networks()
    optimizers = [torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
                  for network in (discriminator, generator)]
    epochs = {"--plain": project(True), "default": project(False),
              "textbook": lambda: textbook_epoch(discriminator, generator, loader, *optimizers, device)}
    with FlopCounterMode(display=False) as counter:
        epochs["--plain"]()
    left, right = torch.randn(2, SIZE, SIZE, device=device)
    epochs["matrix product"] = lambda: left @ right
    times = {name: [] for name in epochs}
    for turn in range(1, number + 1):
        for name, epoch in epochs.items():
            times[name].append(seconds(epoch, device))
        print(f"epoch {turn:2d}   " + "   ".join(
            f"{name} {values[-1]:6.2f} s" for name, values in times.items()), flush=True)

    middle = {name: median(values) for name, values in times.items()}
    rate, peak = counter.get_total_flops() / middle["--plain"], 2 * SIZE ** 3 / middle["matrix product"]
    print(f"\n{describe(device)}; medians of {number} epochs in turn, {len(images)} images, which took {start:.1f} s "
          "to load once")
    print(f"an epoch of --plain takes {middle['--plain']:.2f} s, the textbook's {middle['textbook']:.2f} s: "
          f"{middle['textbook'] / middle['--plain']:.2f} times as long")
    print(f"an epoch of the default takes {middle['default'] / middle['--plain']:.2f} times as long as one of --plain")
    print(f"--plain does {counter.get_total_flops() / 1e9:.0f} GFLOP an epoch, {rate / 1e9:.0f} a second: "
          f"{rate / peak:.0%} of the {peak / 1e9:.0f} of a product of matrices")
