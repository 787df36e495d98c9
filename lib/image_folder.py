"""A folder of images in memory: each is decoded and scaled down once, and cropped again for every batch."""
import os
from collections import Counter
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple, Union

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.files import RECORD, Folder
from lib.images import ENDINGS, OTHER_ENDINGS, read_image
from lib.script import UserError, in_one_line, say

PROJECT = Path(__file__).resolve().parent.parent
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found")       # macOS, network drives, Windows, Linux
Refused = Tuple[Path, str]                          # a file or folder, and the reason


class Images:
    """N images of different widths and heights, from which squares are cropped.

    All pixels are stored in one flat array, so no memory is wasted on padding and a batch is a single indexing
    operation.

    Args:
        images: H,W,3 arrays of uint8; the shorter side is the side of the square.
    """

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        self.size = min(images[0].shape[:2])
        self.pixels = torch.from_numpy(np.concatenate([image.reshape(-1, 3) for image in images]))
        shapes = torch.tensor([image.shape[:2] for image in images])
        self.width, self.room = shapes[:, 1], shapes - self.size            # room: the range of a crop
        self.start = shapes.prod(dim=1).cumsum(0) - shapes.prod(dim=1)

    def __len__(self) -> int:
        return len(self.start)

    def to(self, device: Union[str, torch.device]) -> "Images":
        """Move the images to a device."""
        self.pixels, self.width, self.room, self.start = (
            tensor.to(device) for tensor in (self.pixels, self.width, self.room, self.start))
        return self

    def crop(self, index: Tensor, top_left: Tensor, mirrored: Tensor) -> Tensor:
        """Crop squares.

        Args:
            index: B, which images.
            top_left: B,2 row and column at which the square starts.
            mirrored: B, which of the squares to mirror.

        Returns:
            B,3,size,size with values in [-1, 1].
        """
        place = torch.arange(self.size, device=index.device)
        rows = top_left[:, :1] + place                                      # B,size
        columns = top_left[:, 1:] + torch.where(mirrored[:, None], place.flip(0), place)
        pixel = self.start[index, None, None] + rows[:, :, None] * self.width[index, None, None] + columns[:, None, :]
        return self.pixels[pixel].permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1

    def crop_at(self, position: float, mirrored: bool = False) -> Tensor:
        """Crop every image at a relative position (0 = top or left end, 0.5 = centre, 1 = bottom or right end).

        Returns:
            N,3,size,size with values in [-1, 1].
        """
        index = torch.arange(len(self), device=self.start.device)
        return self.crop(index, (position * self.room).long(), torch.full_like(index, mirrored, dtype=torch.bool))

    def sample_crops(self, index: Tensor) -> Tensor:
        """Crop images at the centre or, half of the time, at a random position, and mirror half of them.

        Args:
            index: B, which images.

        Returns:
            B,3,size,size with values in [-1, 1].
        """
        room, chance = self.room[index], torch.rand(4, len(index), device=index.device)
        anywhere = torch.floor(chance[:2].t() * (room + 1)).long().minimum(room)
        top_left = torch.where(chance[2, :, None] < 0.5, anywhere, room // 2)
        return self.crop(index, top_left, chance[3] < 0.5)

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """Yield random crops of all images once, in random order: B,3,size,size."""
        for index in torch.randperm(len(self), device=self.start.device).split(batch_size):
            yield self.sample_crops(index)


def read_and_resize(path: Path, size: int) -> np.ndarray:
    """Read an image of any format and colour mode, and scale its shorter side down to size.

    Returns:
        H,W,3 array of uint8.

    Raises:
        ValueError: the image cannot be read, or is smaller.
    """
    image = read_image(path, size)
    if image.mode == "RGBA":                        # transparent pixels become white
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if min(image.size) < size:
        raise ValueError(f"it is {image.size[0]} by {image.size[1]} pixels, but at least {size} by {size} are needed")
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def find_files(data_dir: Path, leave_out: Sequence[Union[str, Path]]) -> Tuple[List[Path], List[Path], List[Refused]]:
    """List all files below a folder, following links.

    Hidden files, folders that contain a run, and files that a run has written into the folder itself are skipped.

    Args:
        leave_out: further folders below this one to skip.

    Returns:
        The files, sorted; the folders that were skipped; the folders that cannot be read.
    """
    here = Path(os.path.realpath(data_dir))
    seen = set(here.parents)                        # a link to one of these would lead back here
    not_wanted = {Path(os.path.realpath(folder)) for folder in leave_out}
    files: List[Path] = []
    left_out: List[Path] = []
    refused: List[Refused] = []

    def refuse(error: OSError) -> None:
        refused.append((Path(error.filename), error.strerror or str(error)))

    for name, folders, names in os.walk(data_dir, followlinks=True, onerror=refuse):
        folder, real = Path(name), Path(os.path.realpath(name))
        is_run = {"checkpoint.pt", "metrics.csv"} <= set(names)
        if (is_run and RECORD not in names if real == here else is_run or real in not_wanted):
            left_out.append(folder)
        elif real not in seen:
            ours = Folder(folder, "").entries() if RECORD in names else {}
            files += [folder / name for name in names if not name.startswith(".") and name not in ours]
            folders[:] = sorted(name for name in folders if name[0] != "." and name not in SYSTEM_FOLDERS)
            seen.add(real)
            continue
        folders.clear()
    return sorted(files), left_out, refused


def load_images(data_dir: Union[str, Path], size: int = 32, skip_bad: bool = False,
                leave_out: Sequence[Union[str, Path]] = ()) -> Images:
    """Load all images below a folder, searched recursively. Folders that contain a run of this project are skipped.

    Args:
        size: side of the squares to crop.
        skip_bad: skip images that cannot be read or are too small, and say so.
        leave_out: further folders to skip.

    Raises:
        UserError: the folder does not exist, contains no image, or an image cannot be used.
    """
    if not os.path.isdir(data_dir):
        raise UserError(_no_folder(data_dir))
    files, left_out, bad = find_files(Path(data_dir), leave_out)
    paths = [path for path in files if path.suffix.lower() in ENDINGS]
    other = Counter(path.suffix.lower() for path in files if path.suffix.lower() in OTHER_ENDINGS)
    counts = ", ".join(f"{ending} {count}" for ending, count in other.most_common())
    if not paths and not bad:
        raise UserError(_no_images(data_dir, left_out, counts))
    total = len(paths) + len(bad)
    images: List[np.ndarray] = []
    for path in paths if skip_bad or not bad else ():
        try:
            images.append(read_and_resize(path, size))
        except ValueError as error:
            bad.append((path, str(error)))
            if not skip_bad:
                break
    if bad and not (skip_bad and images):
        path, reason = bad[0]
        kind = "folder" if path.is_dir() else "image"
        remedy = "remove it; no other image can be used" if skip_bad else "remove it, or use --skip_bad to skip it"
        raise UserError(in_one_line(f"the {kind} {path} cannot be used ({reason}): repair or {remedy}"))
    if bad:
        names = ", ".join(str(path) for path, _ in bad[:3])
        say(f"skipped {len(bad)} of {total} images that cannot be used: {names}{', ...' if len(bad) > 3 else ''}")
    if other:
        say(f"skipped {sum(other.values())} image files in unsupported formats ({counts})")
    return Images(images)


def _no_folder(data_dir: Union[str, Path]) -> str:
    if str(data_dir) and os.path.isdir(PROJECT / data_dir):
        return in_one_line(f"there is no folder {data_dir} in the working directory, but there is one in {PROJECT}: "
                           "run the scripts from there, or give the full path")
    return in_one_line(f"there is no folder {data_dir}: choose one that contains images (.jpg, .png, .tif and so on)")


def _no_images(data_dir: Union[str, Path], left_out: Sequence[Path], counts: str) -> str:
    text = f"{data_dir} contains no images"
    if left_out:
        text += f" except in run folders, which are skipped ({', '.join(map(str, left_out[:3]))})"
    if counts:
        text += f"{' and' if left_out else ', only'} image files in unsupported formats ({counts})"
    return in_one_line(f"{text}: choose a folder that contains images (.jpg, .png, .tif and so on)")
