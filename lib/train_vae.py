"""Training the variational autoencoder."""
import math
from pathlib import Path
from typing import Any, Dict, Iterable, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor
from tqdm import tqdm

from lib.digits import load_digits, make_test_loader, make_train_loader
from lib.draw_vae import save_prior_samples, save_reconstructions
from lib.loss_vae import VAELoss
from lib.model_vae import VAE
from lib.optimize import make_adam
from lib.pictures import save_curves, save_image_grid
from lib.run import Run, choose_device, settings_of

FILES = ("train_samples.png", "reconstruction_epoch_[0-9][0-9].png", "prior_samples.png", "loss_curves.png")
METRICS = ("train_reconstruction", "train_kl", "test_reconstruction", "test_kl")
Loader = Iterable[Tuple[Tensor, Tensor]]


def kl_term(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return the unweighted KL term of a batch: the loss of weight 1 minus the loss of weight 0.

    The KL term does not depend on the images, so the smallest ones will do: a single grey pixel each.
    """
    pixel = torch.full((len(mu), 1, 1, 1), 0.5, device=mu.device)
    return VAELoss(1.0)(pixel, pixel, mu, logvar) - VAELoss(0.0)(pixel, pixel, mu, logvar)


def train_epoch(model: VAE, loader: Loader, loss_function: VAELoss, optimizer: torch.optim.Optimizer,
                device: Union[str, torch.device] = "cpu") -> Tuple[float, float]:
    """Train on every batch once.

    Returns:
        Reconstruction and KL term, mean per image in nats: averaged over the epoch, with sampled z and changing
        weights.
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

        kls.append(kl_term(mu.detach(), logvar.detach()))
        losses.append(loss.detach())                # no .item() here: the device would have to wait in every step
        count += len(x)
    kl = sum(torch.stack(kls).tolist())
    reconstruction = sum(torch.stack(losses).tolist()) - loss_function.kl_loss_weight * kl
    return reconstruction / count, kl / count


@torch.no_grad()
def evaluate(model: VAE, loader: Loader, device: Union[str, torch.device] = "cpu") -> Tuple[float, float]:
    """Measure reconstruction and KL term, mean per image in nats, in evaluation mode: with z = mu."""
    model.eval()
    terms, count = [], 0
    for x, _ in loader:
        x = x.to(device)
        decoded, mu, logvar = model(x)
        terms.append(torch.stack([VAELoss(0.0)(decoded, x, mu, logvar), kl_term(mu, logvar)]))
        count += len(x)
    reconstruction, kl = torch.stack(terms).cpu().double().sum(0).tolist()
    return reconstruction / count, kl / count


def mean_image_term(loader: Loader) -> float:
    """Return the reconstruction term, per image in nats, of a decoder that returns the mean image for every z."""
    mean = torch.cat([x for x, _ in loader]).cpu().double().mean(0)
    return -(torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean)).sum().item()


@torch.no_grad()
def warning(model: VAE, loader: Loader, device: Union[str, torch.device], history: Sequence[Dict[str, float]],
            mean_term: float) -> str:
    """Return a warning if training has failed although the loss is finite, otherwise "".

    It has failed if the KL term is a hundred times the reconstruction term of an untrained model, or if test images are
    reconstructed worse than by an untrained model, or worse than by the mean image (mean_term) and no better than an
    epoch ago. A model whose reconstructions are close to the mean image has not failed, so up to 5 % more than
    mean_term is allowed.
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


def train_vae(model: VAE, train_loader: Loader, test_loader: Loader, num_epochs: int = 15, lr: float = 1e-3,
              kl_loss_weight: float = 1.0, save_images: bool = True, device: Union[str, torch.device] = "cpu",
              output_dir: Union[str, Path] = "results", run: Optional[Run] = None) -> None:
    """Train a VAE with Adam, and save checkpoint, metrics and figures to a folder.

    Args:
        model: a VAE.
        train_loader, test_loader: yield (images B,C,H,W in [0, 1], labels B), any number of times.
        num_epochs: train until this many epochs are finished.
        lr: learning rate of Adam.
        kl_loss_weight: factor of the KL term.
        save_images: save figures too.
        output_dir: the folder; it must not contain a run.
        run: a run to start or resume, instead of output_dir. Its seed (0 by default) seeds torch in every epoch.

    Raises:
        UserError: the folder contains a run, or cannot be written to.
        RunError: the loss is no longer finite, or the disk is full.
    """
    model.to(device)
    loss_function, optimizer = VAELoss(kl_loss_weight), make_adam(model, lr)
    if run is None:
        run = Run(output_dir, {"lr": lr, "kl_loss_weight": kl_loss_weight}, "train_vae", FILES)
    first_epoch = run.start(model=model, optimizer=optimizer)
    if save_images and first_epoch == 1:
        run.seed_epoch(0)
        with run.writing("train_samples.png") as path:
            save_image_grid(next(iter(train_loader))[0], path, "training images")

    mean_term, warnings = mean_image_term(test_loader), [""]
    for epoch in range(first_epoch, num_epochs + 1):
        run.seed_epoch(epoch)
        batches = tqdm(train_loader, f"epoch {epoch}/{num_epochs}", leave=False, disable=None)
        with run.refusing_nan("the decoded pixels are no longer numbers from 0 to 1"):
            train_reconstruction, train_kl = train_epoch(model, batches, loss_function, optimizer, device)
            test_reconstruction, test_kl = evaluate(model, test_loader, device)
        if save_images:                             # before the checkpoint, so that a resumed run lacks no figure
            with run.writing(f"reconstruction_epoch_{epoch:02d}.png") as path:
                save_reconstructions(model, test_loader, device, path, epoch)
        run.end_epoch(dict(zip(METRICS, (train_reconstruction, train_kl, test_reconstruction, test_kl))))
        print(f"epoch {epoch:3d}/{num_epochs}   "
              f"train: reconstruction {train_reconstruction:6.2f}, KL {train_kl:5.2f}   "
              f"test: reconstruction {test_reconstruction:6.2f}, KL {test_kl:5.2f}", flush=True)
        warnings.append(warning(model, test_loader, device, run.history, mean_term))
        if warnings[-1] not in warnings[:-1]:
            print(f"warning: {warnings[-1]}", flush=True)

    if save_images:
        with run.writing("prior_samples.png") as path:
            save_prior_samples(model, device, path)
        panels = {"reconstruction, nats per image": ("train_reconstruction", "test_reconstruction"),
                  "KL, nats per image": ("train_kl", "test_kl")}
        with run.writing("loss_curves.png") as path:
            save_curves(run.history, panels, path)
    run.finish()


def run_vae_training(args: Any) -> Path:
    """Do all that run_vae_training.py does.

    Args:
        args: the flags.

    Returns:
        The folder with the results.
    """
    device = choose_device(args.device)
    folder, settings = args.output_dir or f"results_kl{args.kl_loss_weight}", settings_of(args, "num_epochs")
    run = Run(folder, settings, "train_vae", FILES, args.resume, args.overwrite, [METRICS])
    run.check_epochs(args.num_epochs, "--num_epochs")
    digits = load_digits(run.settings["dataset"], args.data_dir)
    run.settings["dataset"] = digits.name
    print(f"training on {digits.name}, {len(digits.train_images):,} images, on {device}", flush=True)
    torch.manual_seed(args.seed)
    model = VAE(hidden_size=args.hidden_size, latent_size=args.latent_size)
    train_vae(model, make_train_loader(digits, args.batch_size, device), make_test_loader(digits, device),
              args.num_epochs, args.lr, args.kl_loss_weight, not args.no_images, device, run=run)
    return run.folder
