"""Handwritten digits: MNIST, or the small set that scikit-learn carries, where MNIST cannot be had."""
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

TIMEOUT = 10                                       # seconds without a byte after which a server is given up
MAX_BYTES = 2 ** 27                                 # the largest file of MNIST has 47 MB


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
        return _load_sklearn_digits()
    raw = Path(data_dir) / "MNIST" / "raw"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")             # torchvision's are not about the digits
        try:
            _get_mnist(raw)
        except (OSError, ValueError, HTTPException, RunError) as error:
            reason = f"MNIST is not in {raw} and could not be downloaded ({' '.join(str(error).split())})"
            if dataset == "mnist":
                raise RunError(f"{reason}; --data_dir names a folder that holds it, and training with --dataset digits "
                               "needs no network")
            say(f"{reason}: training on the 1,797 digits of scikit-learn instead")
            return _load_sklearn_digits()
        return _read_mnist(raw)


def digit_loaders(digits: Digits, batch_size: int, device: Union[str, torch.device] = "cpu") -> Tuple[Batches, Batches]:
    """The training batches, shuffled, and the test batches, in order.

    The 1,437 training images of scikit-learn are too few to learn a latent space from: an epoch goes through them 80
    times, each time slightly shifted and turned, which makes it about twice as long as one of MNIST.
    """
    tensors = [tensor.to(device) for tensor in digits[1:]]
    more = {} if digits.name == "mnist" else {"augment": shift_and_rotate, "passes": 80}
    return Batches(*tensors[:2], batch_size, shuffle=True, **more), Batches(*tensors[2:], batch_size=1000)


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
    """Each file of MNIST: where it lies unpacked, and the name and the MD5 sum of what the servers have."""
    from torchvision.datasets import MNIST
    for archive, md5 in MNIST.resources:
        yield raw / archive.replace(".gz", ""), archive, md5


def _get_mnist(raw: Path) -> None:
    """Unpack the files that raw holds only as archives, and download those that it lacks.

    Raises:
        OSError, ValueError, HTTPException, RunError: a file cannot be downloaded or written.
    """
    for folder in (raw, *raw.parents):
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise RunError(f"{folder} is not a folder")
    missing = [entry for entry in _mnist_files(raw) if not os.path.lexists(entry[0])]      # links are the user's, too
    _download_mnist(raw, [(path, archive, md5) for path, archive, md5 in missing if not _unpack(raw / archive, path)])


def _unpack(archive: Path, path: Path) -> bool:
    """Unpack an archive and return True, if there is one and it is not damaged."""
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
    """Whether these are bytes in an array of so many dimensions, in the format of MNIST."""
    shape = [int.from_bytes(data[4 * i:4 * i + 4], "big") for i in range(1, dims + 1)]
    return data[:4] == bytes((0, 0, 8, dims)) and len(data) == 4 + 4 * dims + math.prod(shape)


def _download_mnist(raw: Path, missing: Sequence[Tuple[Path, str, str]]) -> None:
    """Download files from torchvision's list of servers, verified and unpacked.

    torchvision's own download would wait for a silent server for ever.
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
                    raise ValueError(f"{server + archive} came damaged, its checksum is wrong")
                break
            except (OSError, ValueError, HTTPException) as error:
                failure = error
        else:
            raise failure
        raw.mkdir(parents=True, exist_ok=True)
        write_file(path, gzip.decompress(data))


def _read_mnist(raw: Path) -> Digits:
    images, labels, test_images, test_labels = (_read_file(path, raw / archive)
                                                for path, archive, _ in _mnist_files(raw))
    shapes = {part.shape[1:] for part in (images, test_images)}
    if not (len(images) == len(labels) > 0 and len(test_images) == len(test_labels) > 0 and shapes == {(28, 28)}):
        raise UserError(f"the files in {raw} do not belong together: delete them all, and they are downloaded anew")
    return Digits("mnist", images.unsqueeze(1), labels, test_images.unsqueeze(1), test_labels)


def _read_file(path: Path, archive: Path) -> Tensor:
    """Read one file of MNIST: N,28,28 in uint8, or N in int64.

    Raises:
        UserError: it cannot be read, is damaged, or has labels that are no digits.
    """
    packed = f"unpacked from {archive.name} or " if os.path.lexists(archive) else ""
    if not os.path.isfile(path):
        raise UserError(f"{path} is not a file, or is a broken link: remove it, and it is {packed}downloaded anew")
    try:
        if os.path.getsize(path) > MAX_BYTES:       # would fill the memory
            raise ValueError
        tensor = _read_tensor(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}")
    except Exception:                               # torchvision raises many kinds
        raise UserError(f"{path} is cut short, or not the file that its name says: delete it, and it is "
                        f"{packed}downloaded anew")
    if "labels" in path.name and len(tensor) and tensor.max() > 9:
        raise UserError(f"{path} has labels up to {int(tensor.max())}, so it is damaged or belongs to another dataset: "
                        f"delete it{f' and {archive.name}' if packed else ''}, and it is downloaded anew")
    return tensor


def _read_tensor(path: Path) -> Tensor:
    from torchvision.datasets.mnist import read_image_file, read_label_file
    with open(path, "rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    if is_packed:                                   # under the name of the unpacked file
        with TemporaryDirectory() as folder:
            unpacked = Path(folder) / path.name
            if _unpack(path, unpacked):
                return _read_tensor(unpacked)
    return read_image_file(str(path)) if "images" in path.name else read_label_file(str(path))
