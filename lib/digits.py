"""Handwritten digits: MNIST, or the small set that scikit-learn carries, where MNIST cannot be had."""
import gzip
import hashlib
import math
from http.client import HTTPException
from pathlib import Path
from typing import Callable, Iterator, NamedTuple, Optional, Tuple, Union
from urllib.request import urlopen

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.files import write_file
from lib.script import RunError, UserError

PATIENCE = 10                                       # seconds without a byte after which a server is given up


class Digits(NamedTuple):
    """A data set. Images are N,1,28,28 in uint8, 0 to 255: a quarter of the memory of floats; labels are N, 0 to 9."""
    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


class Batches:
    """Mini-batches of a data set that lies in memory: much faster than a DataLoader that fetches image by image.

    Iterating yields (images B,1,28,28 as floats in [0, 1], labels B), in a new order each time if shuffle is set.

    Args:
        images, labels: as in Digits.
        augment: changes a batch of images each time it is drawn.
        passes: how often an epoch goes through the data.
    """

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int, shuffle: bool = False,
                 augment: Optional[Callable[[Tensor], Tensor]] = None, passes: int = 1) -> None:
        self.images, self.labels, self.batch_size, self.shuffle = images, labels, batch_size, shuffle
        self.augment, self.passes = augment, passes

    def __len__(self) -> int:
        return self.passes * math.ceil(len(self.images) / self.batch_size)

    def __iter__(self) -> Iterator[Tuple[Tensor, Tensor]]:
        n, device = len(self.images), self.images.device
        for _ in range(self.passes):
            order = torch.randperm(n, device=device) if self.shuffle else torch.arange(n, device=device)
            for index in order.split(self.batch_size):
                images = self.images[index].float() / 255
                yield (self.augment(images) if self.augment else images), self.labels[index]


def shift_and_rotate(images: Tensor, pixels: float = 0.5, degrees: float = 3) -> Tensor:
    """Move each image of B,C,H,W by up to so many pixels and turn it by up to so many degrees."""
    n, _, height, width = images.shape
    angle, dx, dy = (2 * torch.rand(3, n, device=images.device) - 1)
    angle = angle * math.radians(degrees)
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack([cos, -sin, dx * 2 * pixels / width, sin, cos, dy * 2 * pixels / height], 1).view(n, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def load_digits(dataset: str = "auto", data_dir: Union[str, Path] = "data") -> Digits:
    """Load a data set by name.

    Args:
        dataset: "mnist" takes MNIST from data_dir, or downloads it there; "digits" takes the 1,797 digits of
            scikit-learn; "auto" takes the first if it can be had, else says why not and takes the second.
        data_dir: the folder with MNIST/raw in it, as torchvision lays it out.

    Raises:
        UserError: there is no data set of this name, or the files in data_dir are damaged.
        RunError: MNIST is insisted on, is not there and cannot be downloaded.
    """
    if dataset not in ("auto", "mnist", "digits"):
        raise UserError(f"there is no data set {dataset}: choose auto, mnist or digits")
    if dataset == "digits":
        return _sklearn_digits()
    raw = Path(data_dir) / "MNIST" / "raw"
    try:
        _download_mnist(raw)
    except (OSError, ValueError, HTTPException, RunError) as error:
        reason = f"MNIST is not in {raw} and could not be downloaded ({str(error).strip()})"
        if dataset == "mnist":
            raise RunError(f"{reason}; --data_dir names a folder that holds it, and training with --dataset digits "
                           "needs no network")
        print(f"{reason}: training on the 1,797 digits of scikit-learn instead", flush=True)
        return _sklearn_digits()
    return _read_mnist(raw)


def digit_loaders(digits: Digits, batch_size: int, device: Union[str, torch.device] = "cpu") -> Tuple[Batches, Batches]:
    """The training batches, shuffled, and the test batches, in order.

    The 1,437 training images of scikit-learn are too few to learn a latent space from: an epoch goes through them 80
    times, each time slightly shifted and turned, which makes it about twice as long as one of MNIST.
    """
    tensors = [tensor.to(device) for tensor in digits[1:]]
    more = {} if digits.name == "mnist" else {"augment": shift_and_rotate, "passes": 80}
    return Batches(*tensors[:2], batch_size, shuffle=True, **more), Batches(*tensors[2:], batch_size=1000)


def _sklearn_digits() -> Digits:
    from sklearn.datasets import load_digits as sklearn_load_digits
    bunch = sklearn_load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    images = F.interpolate(images, size=24, mode="bicubic", align_corners=False).clamp(0, 1)
    images = (F.pad(images, (2, 2, 2, 2)) * 255).round().to(torch.uint8)            # 28x28, with a margin as MNIST has
    labels = torch.tensor(bunch.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, test = order[360:], order[:360]
    return Digits("digits", images[train], labels[train], images[test], labels[test])


def _mnist_files(raw: Path) -> Iterator[Tuple[Path, str, str]]:
    """Each file of MNIST: where it lies unpacked, and the name and the MD5 sum of what the servers have."""
    from torchvision.datasets import MNIST
    for archive, md5 in MNIST.resources:
        yield raw / archive.replace(".gz", ""), archive, md5


def _download_mnist(raw: Path) -> None:
    """Download the files that raw lacks, from torchvision's list of servers, verified and unpacked.

    torchvision's own download would wait for a silent server for ever.
    """
    from torchvision.datasets import MNIST
    missing = [entry for entry in _mnist_files(raw) if not entry[0].exists()]
    if missing:
        print(f"downloading MNIST (11 MB) to {raw} ...", flush=True)
    for path, archive, md5 in missing:
        for server in MNIST.mirrors:
            try:
                with urlopen(server + archive, timeout=PATIENCE) as response:
                    data = response.read()
                if hashlib.md5(data).hexdigest() != md5:
                    raise ValueError(f"{server + archive} came damaged, its checksum is wrong")
                break
            except (OSError, ValueError, HTTPException) as error:
                failure = error
        else:
            raise failure
        raw.mkdir(parents=True, exist_ok=True)
        write_file(path, gzip.decompress(data))


def _read_mnist(raw: Path) -> Digits:
    from torchvision.datasets.mnist import read_image_file, read_label_file
    tensors = []
    for path, _, _ in _mnist_files(raw):
        try:
            tensors.append(read_image_file(str(path)) if "images" in path.name else read_label_file(str(path)))
        except Exception:                           # torchvision raises many kinds
            raise UserError(f"{path} is cut short, or not the file that its name says: delete it, and it is "
                            "downloaded anew")
    images, labels, test_images, test_labels = tensors
    shapes = {part.shape[1:] for part in (images, test_images)}
    if not (len(images) == len(labels) > 0 and len(test_images) == len(test_labels) > 0 and shapes == {(28, 28)}):
        raise UserError(f"the files in {raw} do not belong together: delete them, and they are downloaded anew")
    return Digits("mnist", images.unsqueeze(1), labels, test_images.unsqueeze(1), test_labels)
