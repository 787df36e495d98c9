"""Training the variational autoencoder."""
import math
from pathlib import Path
from typing import Any, Dict, Iterable, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lib.digits import digit_loaders, load_digits
from lib.loss_vae import VAELoss
from lib.model_vae import VAE
from lib.pictures import save_curves, save_image_grid
from lib.run import Run, choose_device

FILES = ("train_samples.png", "reconstruction_epoch_[0-9][0-9].png", "prior_samples.png", "loss_curves.png")
METRICS = ("train_reconstruction", "train_kl", "test_reconstruction", "test_kl")
Loader = Iterable[Tuple[Tensor, Tensor]]


def loss_terms(decoded: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tuple[Tensor, Tensor]:
    """The reconstruction term and the unweighted KL term of a batch, each summed: the loss of weight 0, and what weight
    1 adds to it.
    """
    reconstruction = VAELoss(0.0)(decoded, x, mu, logvar)
    return reconstruction, VAELoss(1.0)(decoded, x, mu, logvar) - reconstruction


def train_epoch(model: nn.Module, loader: Loader, loss_function: VAELoss, optimizer: torch.optim.Optimizer,
                device: Union[str, torch.device] = "cpu") -> Tuple[float, float]:
    """Train on every batch once.

    Returns:
        Reconstruction and KL term, mean per image in nats, measured on the way: with sampled z and changing weights.
    """
    model.train()
    losses, kls, count = [], [], 0
    for x, _ in loader:
        x = x.to(device)
        decoded, mu, logvar = model(x)
        loss = loss_function(decoded, x, mu, logvar)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        with torch.no_grad():                       # one pixel has the same KL term as all, and is faster
            kls.append(loss_terms(decoded[..., :1, :1], x[..., :1, :1], mu, logvar)[1])
        losses.append(loss.detach())                # no .item() here: it would make the device wait in every step
        count += len(x)
    kl = sum(torch.stack(kls).tolist())
    reconstruction = sum(torch.stack(losses).tolist()) - loss_function.kl_loss_weight * kl
    return reconstruction / count, kl / count


@torch.no_grad()
def evaluate(model: nn.Module, loader: Loader, device: Union[str, torch.device] = "cpu") -> Tuple[float, float]:
    """Reconstruction and KL term, mean per image in nats, in evaluation mode: with mu for z."""
    model.eval()
    terms, count = [], 0
    for x, _ in loader:
        x = x.to(device)
        decoded, mu, logvar = model(x)
        terms.append(torch.stack(loss_terms(decoded, x, mu, logvar)))
        count += len(x)
    reconstruction, kl = torch.stack(terms).cpu().double().sum(0).tolist()
    return reconstruction / count, kl / count


def mean_image_term(loader: Loader) -> float:
    """Return the reconstruction term, per image in nats, of a decoder that returns the mean image for every z."""
    total, count = 0, 0
    for x, _ in loader:
        total, count = total + x.cpu().double().sum(0), count + len(x)
    mean = total / count
    return -(torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean)).sum().item()


@torch.no_grad()
def warning(model: nn.Module, loader: Loader, device: Union[str, torch.device], history: Sequence[Dict[str, float]],
            mean_term: float) -> str:
    """Return a warning if the loss is finite but training has failed, otherwise "".

    It has failed if the KL term is a hundred times the reconstruction term of an untrained model, or if the test images
    are reconstructed worse than by an untrained model, or worse than by the mean image (mean_term) and no better than
    an epoch ago. A KL weight of 30 or more makes the model decode the mean image; it then stays within 2 % of that
    term, so 5 % are allowed.
    """
    row, x = history[-1], next(iter(loader))[0].to(device)
    untrained = math.log(2) * x[0].numel()          # all pixels are 0.5
    term, kl = row["test_reconstruction"], max(row["train_kl"], row["test_kl"])
    worse = len(history) > 1 and term > max(1.05 * mean_term, history[-2]["test_reconstruction"])
    if term < 1.1 * untrained and kl < 100 * untrained and not worse:
        return ""
    decoded = model(x)[0]
    if ((decoded < 1e-6) | (decoded > 1 - 1e-6)).all():
        what = "all decoded pixels are 0 or 1"
    elif kl > 100 * untrained:
        what = "the KL term is more than a hundred times the reconstruction term of an untrained model"
    else:
        what = f"the reconstructions are worse than the mean image, whose reconstruction term is {mean_term:.2f}"
    return f"{what}. The learning rate is probably too large: start again with a lower --lr"


def train_vae(model: nn.Module, train_loader: Loader, test_loader: Loader, num_epochs: int = 15, lr: float = 1e-3,
              kl_loss_weight: float = 1.0, save_images: bool = True, device: Union[str, torch.device] = "cpu",
              output_dir: Union[str, Path] = "results", run: Optional[Run] = None) -> None:
    """Train a VAE with Adam, and leave checkpoint, metrics and pictures in a folder.

    Args:
        model: a VAE.
        train_loader, test_loader: yield (images B,C,H,W in [0, 1], labels B), any number of times.
        save_images: draw the pictures too.
        output_dir: the folder; it must not hold a run yet.
        run: the run to begin or to resume, in place of output_dir; its seed, else 0, seeds torch in every epoch.

    Raises:
        UserError: the folder holds a run, or cannot be written to.
        RunError: the loss is no longer finite, or the disk is full.
    """
    model.to(device)
    loss_function = VAELoss(kl_loss_weight)
    # fused: one kernel updates all weights, which is faster; MPS has it only in newer versions
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=torch.device(device).type != "mps")
    if run is None:
        run = Run(output_dir, {"lr": lr, "kl_loss_weight": kl_loss_weight}, "train_vae", FILES)
    first_epoch = run.start(model=model, optimizer=optimizer)
    if save_images and first_epoch == 1:
        run.seed_epoch(0)
        with run.writing("train_samples.png") as path:
            save_image_grid(next(iter(train_loader))[0], path, "training images")

    mean_term, warned = mean_image_term(test_loader), []
    for epoch in range(first_epoch, num_epochs + 1):
        run.seed_epoch(epoch)
        batches = tqdm(train_loader, f"epoch {epoch}/{num_epochs}", leave=False, disable=None)
        with run.refusing_nan("the decoded pixels are no longer numbers from 0 to 1"):
            train_reconstruction, train_kl = train_epoch(model, batches, loss_function, optimizer, device)
            test_reconstruction, test_kl = evaluate(model, test_loader, device)
        if save_images:                             # before the checkpoint: a resumed run lacks no picture
            with run.writing(f"reconstruction_epoch_{epoch:02d}.png") as path:
                save_reconstructions(model, test_loader, device, path, epoch)
        run.end_epoch(dict(zip(METRICS, (train_reconstruction, train_kl, test_reconstruction, test_kl))))
        print(f"epoch {epoch:3d}/{num_epochs}   "
              f"train: reconstruction {train_reconstruction:6.2f}, KL {train_kl:5.2f}   "
              f"test: reconstruction {test_reconstruction:6.2f}, KL {test_kl:5.2f}", flush=True)
        said = warning(model, test_loader, device, run.history, mean_term)
        if said and said not in warned:
            print(f"warning: {said}", flush=True)
            warned.append(said)

    if save_images:
        with run.writing("prior_samples.png") as path:
            save_prior_samples(model, device, path)
        panels = {"reconstruction, nats per image": ("train_reconstruction", "test_reconstruction"),
                  "KL, nats per image": ("train_kl", "test_kl")}
        with run.writing("loss_curves.png") as path:
            save_curves(run.history, panels, path)
    run.finish()


@torch.no_grad()
def save_reconstructions(model: nn.Module, loader: Loader, device: Union[str, torch.device], path: Path, epoch: int
                         ) -> None:
    """Save 32 images, each row with its reconstructions below it."""
    model.eval()
    x = next(iter(loader))[0][:32].to(device)
    rows = [row for pair in zip(x.split(8), model(x)[0].split(8)) for row in pair]
    save_image_grid(torch.cat(rows), path, normalize=False,
                    title=f"epoch {epoch}: test images and, below each row, their reconstructions")


@torch.no_grad()
def save_prior_samples(model: nn.Module, device: Union[str, torch.device], path: Path) -> None:
    """Save what the decoder makes of 64 draws from the prior N(0, 1)."""
    model.eval()
    z = torch.randn(64, model.latent_size, generator=torch.Generator().manual_seed(0)).to(device)
    save_image_grid(model.decode(z), path, "decoded draws from the prior N(0, 1)", normalize=False)


def run_vae_training(args: Any) -> Path:
    """All that run_vae_training.py does.

    Args:
        args: the flags.

    Returns:
        The folder with the results.
    """
    device = choose_device(args.device)
    settings = {name: getattr(args, name) for name in (
        "dataset", "kl_loss_weight", "lr", "batch_size", "latent_size", "hidden_size", "seed")}
    run = Run(args.output_dir or f"results_kl{args.kl_loss_weight}", settings, "train_vae", FILES,
              args.resume, args.overwrite, [METRICS])
    run.check_epochs(args.num_epochs, "--num_epochs")
    digits = load_digits(run.settings["dataset"], args.data_dir)
    run.settings["dataset"] = digits.name
    print(f"training on {digits.name}, {len(digits.train_images):,} images, on {device}", flush=True)
    torch.manual_seed(args.seed)
    model = VAE(hidden_size=args.hidden_size, latent_size=args.latent_size)
    train_vae(model, *digit_loaders(digits, args.batch_size, device), args.num_epochs, args.lr, args.kl_loss_weight,
              not args.no_images, device, run=run)
    return run.folder
