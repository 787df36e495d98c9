"""Handwritten digits: MNIST, or scikit-learn's small dataset if MNIST is unavailable."""
import gzip
import hashlib
import math
import os
import warnings
import zlib
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Callable, Iterator, NamedTuple, Optional, Sequence, Tuple, Union
from urllib.request import urlopen

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.files import write_file
from lib.script import RunError, UserError, say

TIMEOUT = 10                                        # give up on a server after this many seconds without data
MAX_BYTES = 2 ** 27                                 # the largest file of MNIST has 47 MB


class Digits(NamedTuple):
    """A dataset. Images are N,1,28,28 in uint8, 0 to 255, which needs a quarter of the memory of floats; labels are N,
    0 to 9.
    """
    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


class Batches:
    """Mini-batches of a dataset in memory: much faster than a DataLoader, which fetches image by image.

    Iterating yields (images B,1,28,28 as floats in [0, 1], labels B), with shuffle in a new order each time.

    Args:
        images, labels: as in Digits.
        shuffle: yield the images in random order.
        augment: applied to every batch of images.
        passes: number of passes over the data in one epoch.
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
    """Shift each of B,C,H,W images by up to `pixels` and rotate it by up to `degrees`, in both directions."""
    n, _, height, width = images.shape
    angle, dx, dy = (2 * torch.rand(3, n, device=images.device) - 1)
    angle = angle * math.radians(degrees)
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack([cos, -sin, dx * 2 * pixels / width, sin, cos, dy * 2 * pixels / height], 1).view(n, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def load_digits(dataset: str = "auto", data_dir: Union[str, Path] = "data") -> Digits:
    """Load a dataset by name.

    Args:
        dataset: "mnist" reads MNIST from data_dir, or downloads it there; "digits" is scikit-learn's 1,797 digits;
        "auto"
            is MNIST if available, otherwise it prints the reason and is "digits".
        data_dir: the folder that contains MNIST/raw, as torchvision lays it out.

    Raises:
        UserError: there is no dataset of this name, or the files in data_dir are damaged.
        RunError: the dataset is "mnist", and MNIST is neither there nor can it be downloaded.
    """
    if dataset not in ("auto", "mnist", "digits"):
        raise UserError(f"there is no dataset {dataset}: choose auto, mnist or digits")
    if dataset == "digits":
        return _load_sklearn_digits()
    raw = Path(data_dir) / "MNIST" / "raw"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")             # torchvision's do not concern the digits
        try:
            _get_mnist(raw)
        except (OSError, ValueError, HTTPException, RunError) as error:
            reason = f"MNIST is not in {raw} and could not be downloaded ({' '.join(str(error).split())})"
            if dataset == "mnist":
                raise RunError(f"{reason}; --data_dir sets the folder to look in, and training with --dataset digits "
                               "needs no network") from error
            say(f"{reason}: training on scikit-learn's 1,797 digits instead")
            return _load_sklearn_digits()
        return _read_mnist(raw)


def make_train_loader(digits: Digits, batch_size: int, device: Union[str, torch.device] = "cpu") -> Batches:
    """Return shuffled batches of the training images.

    scikit-learn's 1,437 training images are too few to learn a latent space from, so one epoch passes over them 80
    times with small random shifts and rotations. That takes about twice as long as an epoch of MNIST.
    """
    images, labels = digits.train_images.to(device), digits.train_labels.to(device)
    if digits.name == "mnist":
        return Batches(images, labels, batch_size, shuffle=True)
    return Batches(images, labels, batch_size, shuffle=True, augment=shift_and_rotate, passes=80)


def make_test_loader(digits: Digits, device: Union[str, torch.device] = "cpu") -> Batches:
    """Return batches of the test images, in order."""
    return Batches(digits.test_images.to(device), digits.test_labels.to(device), batch_size=1000)


def _load_sklearn_digits() -> Digits:
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
    """Yield for each file of MNIST its unpacked path, and the name and MD5 checksum of its archive on the servers."""
    from torchvision.datasets import MNIST
    for archive, md5 in MNIST.resources:
        yield raw / archive.replace(".gz", ""), archive, md5


def _get_mnist(raw: Path) -> None:
    """Unpack files of which raw contains only the archive, and download missing ones.

    Raises:
        OSError, ValueError, HTTPException, RunError: a file cannot be downloaded or written.
    """
    for folder in (raw, *raw.parents):
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise RunError(f"{folder} is not a folder")
    missing = [entry for entry in _mnist_files(raw) if not os.path.lexists(entry[0])]      # lexists: keep broken links
    _download_mnist(raw, [(path, archive, md5) for path, archive, md5 in missing if not _unpack(raw / archive, path)])


def _unpack(archive: Path, path: Path) -> bool:
    """Unpack an archive, and return whether there was an undamaged one."""
    if not os.path.isfile(archive):
        return False
    try:
        with gzip.open(archive) as file:            # verifies the checksum at the end
            data = file.read(MAX_BYTES)
        if not _is_whole(data, 3 if "images" in path.name else 1):
            raise OSError("not a file of MNIST")
    except (OSError, EOFError, zlib.error) as error:
        print(f"{archive} cannot be unpacked ({' '.join(str(error).split())})", flush=True)
        return False
    print(f"unpacking {archive}", flush=True)
    write_file(path, data)
    return True


def _is_whole(data: bytes, dims: int) -> bool:
    """Return whether this is an array of bytes with `dims` dimensions in MNIST's file format."""
    shape = [int.from_bytes(data[4 * i:4 * i + 4], "big") for i in range(1, dims + 1)]
    return data[:4] == bytes((0, 0, 8, dims)) and len(data) == 4 + 4 * dims + math.prod(shape)


def _download_mnist(raw: Path, missing: Sequence[Tuple[Path, str, str]]) -> None:
    """Download files from torchvision's list of servers, verify and unpack them.

    torchvision's own download has no timeout and may hang.
    """
    from torchvision.datasets import MNIST
    if missing:
        print(f"downloading MNIST (11 MB) to {raw} ...", flush=True)
    for path, archive, md5 in missing:
        for server in MNIST.mirrors:
            try:
                with urlopen(server + archive, timeout=TIMEOUT) as response:
                    data = response.read()
                if hashlib.md5(data).hexdigest() != md5:
                    raise ValueError(f"{server + archive} is corrupted: its checksum does not match")
                break
            except (OSError, ValueError, HTTPException) as error:
                if server == MNIST.mirrors[-1]:
                    raise error
        raw.mkdir(parents=True, exist_ok=True)
        write_file(path, gzip.decompress(data))


def _read_mnist(raw: Path) -> Digits:
    images, labels, test_images, test_labels = (_read_file(path, raw / archive)
                                                for path, archive, _ in _mnist_files(raw))
    shapes = {part.shape[1:] for part in (images, test_images)}
    if not (len(images) == len(labels) > 0 and len(test_images) == len(test_labels) > 0 and shapes == {(28, 28)}):
        raise UserError(f"the files in {raw} do not match each other; delete them and they will be downloaded again")
    return Digits("mnist", images.unsqueeze(1), labels, test_images.unsqueeze(1), test_labels)


def _read_file(path: Path, archive: Path) -> Tensor:
    """Read one file of MNIST: N,28,28 in uint8, or N in int64.

    Raises:
        UserError: the file cannot be read, is damaged, or its labels are not digits.
    """
    unpacked = f"unpacked from {archive.name} or " if os.path.lexists(archive) else ""
    if not os.path.isfile(path):
        raise UserError(f"{path} is not a file or is a broken link; delete it and it will be {unpacked}downloaded "
                        "again")
    try:
        if os.path.getsize(path) > MAX_BYTES:       # it might not fit into memory
            raise ValueError
        tensor = _read_tensor(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:                      # torchvision raises many kinds
        raise UserError(f"{path} is truncated or not a valid MNIST file; delete it and it will be {unpacked}downloaded "
                        "again") from error
    if "labels" in path.name and len(tensor) and tensor.max() > 9:
        raise UserError(f"{path} has labels up to {int(tensor.max())}, so it is damaged or belongs to another dataset; "
                        f"delete it{f' and {archive.name}' if unpacked else ''} and it will be downloaded again")
    return tensor


def _read_tensor(path: Path) -> Tensor:
    from torchvision.datasets.mnist import read_image_file, read_label_file
    with open(path, "rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    if is_packed:                                   # despite its name
        with TemporaryDirectory() as folder:
            unpacked = Path(folder) / path.name
            if _unpack(path, unpacked):
                return _read_tensor(unpacked)
    return read_image_file(str(path)) if "images" in path.name else read_label_file(str(path))
