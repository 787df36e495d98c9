"""Exploring the latent space of a trained VAE: where it encodes images, and what it decodes from every point."""
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lib.digits import load_digits, make_test_loader
from lib.draw_vae import Device, LatentSpace, draw_comparison, draw_latent_space
from lib.files import Folder
from lib.load_vae import load_vae
from lib.pictures import save_figure
from lib.run import choose_device
from lib.script import UserError

if TYPE_CHECKING:
    from lib.model_vae import VAE

SCRIPT = "plot_latent_space"


@torch.no_grad()
def get_mu_logvar(model: "VAE", test_loader: Iterable[Tuple[Tensor, Tensor]], device: Device = "cpu"
                  ) -> Tuple[Tensor, Tensor]:
    """Encode a whole dataset.

    Args:
        model: a VAE.
        test_loader: yields (images B,C,H,W, labels B).

    Returns:
        mu, logvar: N,L each, for the N images in the loader's order.
    """
    # START TODO 1.3 ########################
    # Switch the model to evaluation mode. Iterate over the loader, move each batch of images to the device and encode
    # it. Concatenate the batches of mu to one tensor and those of logvar to another, and return both.
    # BEGIN SOLUTION
    model.eval()
    batches = [model.encode(images.to(device)) for images, _ in test_loader]
    all_mu, all_logvar = zip(*batches)
    return torch.cat(all_mu), torch.cat(all_logvar)
    # END SOLUTION
    # END TODO 1.3 ########################


@torch.no_grad()
def sample_on_grid(model: "VAE", latent0_min: float, latent0_max: float, latent1_min: float, latent1_max: float,
                   grid_size: int, device: Device = "cpu") -> Tuple[np.ndarray, np.ndarray]:
    """Decode the points of a regular grid over a rectangle of the latent space.

    The grid has grid_size values of each latent, from its minimum to its maximum, both included.

    Args:
        model: a VAE with two latents.
        latent0_min, latent0_max: range of latent 0.
        latent1_min, latent1_max: range of latent 1.
        grid_size: points in each direction, at least 2.

    Returns:
        images: grid,grid,C,H,W array; images[i, j] is decoded from the i-th value of latent 0 and the j-th of latent 1.
        step_size: array of 2, the distance between neighbouring values of latent 0 and of latent 1.
    """
    # START TODO 1.3 ########################
    # Compute grid_size evenly spaced values of each latent, and the distance between neighbouring values. Combine every
    # value of latent 0 with every value of latent 1 to latents of shape grid*grid,2 (in float32, on the device), so
    # that latent 1 changes fastest. Decode them, and return the images as a numpy array of shape grid,grid,C,H,W
    # together with the two step sizes.
    # BEGIN SOLUTION
    values0 = torch.linspace(latent0_min, latent0_max, grid_size)
    values1 = torch.linspace(latent1_min, latent1_max, grid_size)
    step_size = np.array([latent0_max - latent0_min, latent1_max - latent1_min]) / (grid_size - 1)
    z = torch.cartesian_prod(values0, values1).to(device)
    images = model.decode(z).cpu().numpy()
    return images.reshape(grid_size, grid_size, *images.shape[1:]), step_size
    # END SOLUTION
    # END TODO 1.3 ########################


def plot_latent_space(model: "VAE", test_loader: Iterable[Tuple[Tensor, Tensor]], device: Device = "cpu",
                      grid_size: int = 20, figure: Optional[Figure] = None) -> Figure:
    """Draw the decoded latent space next to the encoded dataset.

    Args:
        model: a VAE with two latents.
        test_loader: yields (images B,C,H,W, labels B).
        grid_size: number of decoded images in each direction.
        figure: to draw on; by default a new one.

    Returns:
        The figure.
    """
    figure = figure or Figure(figsize=(15, 7.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_latent_space(left, right, explore(model, test_loader, device, grid_size))
    return figure


def explore(model: "VAE", test_loader: Iterable[Tuple[Tensor, Tensor]], device: Device, grid_size: int) -> LatentSpace:
    """Encode a dataset, and decode a grid over the region that the encodings cover.

    Raises:
        UserError: the encodings are not finite.
    """
    model.eval()
    batches = list(test_loader)                     # one pass gives images and labels in the same order
    mu, logvar = (tensor.cpu().numpy() for tensor in get_mu_logvar(model, batches, device))
    labels = torch.cat([labels for _, labels in batches]).cpu().numpy()
    with np.errstate(over="ignore"):
        sigma = np.sqrt(np.exp(logvar))
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise UserError("the model's encodings are not finite numbers: its weights are damaged or far too large")
    # The grid covers the encodings with their uncertainty, except for the outermost hundredth.
    low, high = np.quantile(mu - sigma, 0.01, axis=0), np.quantile(mu + sigma, 0.99, axis=0)
    images, step = sample_on_grid(model, low[0], high[0], low[1], high[1], grid_size, device)
    return LatentSpace(mu, sigma, labels, images, low, high, step)


def load_run(folder: Union[str, Path], device: Device) -> Tuple["VAE", Dict[str, Any]]:
    """Load the model of a run, and its checkpoint.

    Raises:
        UserError: the folder does not contain a VAE with two latents.
    """
    model, checkpoint = load_vae(folder, to_draw=True)
    return model.to(device), checkpoint


def compare_runs(folders: Sequence[Union[str, Path]], data_dir: Union[str, Path], device: Device, grid_size: int
                 ) -> List[Tuple[str, LatentSpace]]:
    """Return the latent spaces of several runs, each with a title that gives its numbers.

    Reconstruction and KL are the last epoch's on the test set, in nats per image. The spread is the standard deviation
    of the encoded means over all images and both latents, next to the median sigma of an encoded image.
    """
    spaces = []
    for folder in folders:
        model, checkpoint = load_run(folder, device)
        digits = load_digits(checkpoint["settings"]["dataset"], data_dir)
        space = explore(model, make_test_loader(digits, device), device, grid_size)
        last, spread = checkpoint["history"][-1], np.sqrt(space.mu.var(axis=0).mean())
        title = (f"KL weight {checkpoint['settings']['kl_loss_weight']:g}\n"
                 f"reconstruction {last['test_reconstruction']:.1f}, KL {last['test_kl']:.2f}\n"
                 f"spread of the means {spread:.2f}, median sigma {np.median(space.sigma):.2g}")
        spaces.append((title, space))
    return spaces


def run_plot_latent_space(args: Any) -> Path:
    """Do all that plot_latent_space.py does.

    Args:
        args: the flags.

    Returns:
        The path of the figure.
    """
    if args.show:
        import matplotlib.pyplot as plt
        try:
            plt.close(plt.figure())
        except Exception:                           # every backend fails in its own way
            plt.switch_backend("agg")
        if plt.get_backend().lower() == "agg":
            raise UserError("--show: no window can be opened here; without --show, the figure is only saved to a file")
    device = choose_device(args.device)
    figure_class = plt.figure if args.show else Figure
    if args.compare:
        runs, path = [f"results_kl{weight}" for weight in args.compare], Path("kl_comparison.png")
        record = find_record(path, runs[0])
        figure = figure_class(figsize=(5.5 * len(runs), 11.5), layout="constrained")
        draw_comparison(figure, compare_runs(runs, args.data_dir, device, args.grid_size))
    else:
        folder = Path(args.output_dir or f"results_kl{args.kl_loss_weight}")
        path = folder / "latent_space.png"
        record = Folder(folder, SCRIPT, old=[path])
        model, checkpoint = load_run(folder, device)
        digits = load_digits(checkpoint["settings"]["dataset"], args.data_dir)
        figure = plot_latent_space(model, make_test_loader(digits, device), device, args.grid_size,
                                   figure_class(figsize=(15, 7.5), layout="constrained"))
    if record.foreign([path]):
        raise UserError(f"{path} exists, but {SCRIPT}.py did not write it: move it")
    with record.writing(path) as place:
        save_figure(figure, place)
    if args.show:
        plt.show()
    return path


def find_record(path: Path, folder: str) -> Folder:
    """Return the folder whose record lists an earlier comparison, otherwise the folder of the first run."""
    records = [Folder(other, SCRIPT) for other in [folder, *map(str, sorted(Path().glob("results_kl*")))]]
    return next((record for record in records if record.is_ours(path)), records[0])
