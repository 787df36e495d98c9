"""A folder of pictures, held in memory: each is decoded and scaled down once, and cut out anew for each batch."""
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
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found")       # of macOS, network drives, Windows, Linux
Refused = Tuple[Path, str]                          # a file or a folder, and why it cannot be used


class Images:
    """N pictures of different widths and heights, of which squares are cut out.

    Their pixels stand one behind the other in one long row, so that no place is wasted on a common shape and a batch is
    a single look-up.

    Args:
        images: H,W,3 arrays of uint8; the shorter side is as long as the square's.
    """

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        self.size = min(images[0].shape[:2])
        self.pixels = torch.from_numpy(np.concatenate([image.reshape(-1, 3) for image in images]))
        shapes = torch.tensor([image.shape[:2] for image in images])
        self.width, self.room = shapes[:, 1], shapes - self.size            # room: how far a square can be moved
        self.start = shapes.prod(dim=1).cumsum(0) - shapes.prod(dim=1)

    def __len__(self) -> int:
        return len(self.start)

    def to(self, device: Union[str, torch.device]) -> "Images":
        self.pixels, self.width, self.room, self.start = (
            tensor.to(device) for tensor in (self.pixels, self.width, self.room, self.start))
        return self

    def crop(self, index: Tensor, top_left: Tensor, mirrored: Tensor) -> Tensor:
        """Cut squares out.

        Args:
            index: B, which pictures.
            top_left: B,2 where the square begins: row and column.
            mirrored: B, which of them to mirror.

        Returns:
            B,3,size,size with values in [-1, 1].
        """
        place = torch.arange(self.size, device=index.device)
        rows = top_left[:, :1] + place                                      # B,size
        columns = top_left[:, 1:] + torch.where(mirrored[:, None], place.flip(0), place)
        pixel = self.start[index, None, None] + rows[:, :, None] * self.width[index, None, None] + columns[:, None, :]
        return self.pixels[pixel].permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1

    def at(self, part: float, mirrored: bool = False) -> Tensor:
        """Of each picture the square after a part of the way, 0.5 is the middle: N,3,size,size."""
        index = torch.arange(len(self), device=self.start.device)
        return self.crop(index, (part * self.room).long(), torch.full_like(index, mirrored, dtype=torch.bool))

    def augmented(self, index: Tensor) -> Tensor:
        """A random or the central crop, at even odds, and mirrored or not, at even odds: B,3,size,size."""
        room, chance = self.room[index], torch.rand(4, len(index), device=index.device)
        anywhere = torch.floor(chance[:2].t() * (room + 1)).long().minimum(room)
        top_left = torch.where(chance[2, :, None] < 0.5, anywhere, room // 2)
        return self.crop(index, top_left, chance[3] < 0.5)

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """All pictures once, augmented, in a new order: B,3,size,size."""
        for index in torch.randperm(len(self), device=self.start.device).split(batch_size):
            yield self.augmented(index)


def read_and_resize(path: Path, size: int) -> np.ndarray:
    """Read a picture of whatever format and colour mode: H,W,3 in uint8, its shorter side scaled down to size.

    Raises:
        ValueError: it cannot be read, or it is smaller.
    """
    image = read_image(path, size)
    if image.mode == "RGBA":                        # what is transparent shows white
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if min(image.size) < size:
        raise ValueError(f"it has {image.size[0]} by {image.size[1]} pixels, and {size} by {size} are needed")
    scale = size / min(image.size)
    shape = tuple(max(size, round(side * scale)) for side in image.size)
    return np.asarray(image.resize(shape, Image.BILINEAR))


def find_files(data_dir: Path, leave_out: Sequence[Union[str, Path]]) -> Tuple[List[Path], List[Path], List[Refused]]:
    """List all files below a folder, through links too, except hidden ones, those in folders of runs, and those that a
    run has written into the folder itself.

    Args:
        leave_out: more folders to leave out, if they are below this one.

    Returns:
        The files, sorted; the folders of runs, and the others of leave_out, that were found; the folders that cannot
        be read.
    """
    here = Path(os.path.realpath(data_dir))
    seen = set(here.parents)                        # a link to one of these would lead back here
    not_wanted = {Path(os.path.realpath(folder)) for folder in leave_out}
    files, left_out, refused = [], [], []

    def refuse(error: OSError) -> None:
        refused.append((Path(error.filename), error.strerror))

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
    """Load all pictures below a folder, however deep. Folders that hold a run of this project are left out.

    Args:
        size: of the square that will be cut out.
        skip_bad: leave out those that cannot be read or are too small, and say so.
        leave_out: more folders to leave out.

    Raises:
        UserError: there is no folder, no picture in it, or one of them cannot be used.
    """
    if not os.path.isdir(data_dir):
        raise UserError(_no_folder(data_dir))
    files, left_out, bad = find_files(Path(data_dir), leave_out)
    paths = [path for path in files if path.suffix.lower() in ENDINGS]
    other = Counter(path.suffix.lower() for path in files if path.suffix.lower() in OTHER_ENDINGS)
    counts = ", ".join(f"{ending} {count}" for ending, count in other.most_common())
    if not paths and not bad:
        raise UserError(_no_pictures(data_dir, left_out, counts))
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
        kind = "folder" if path.is_dir() else "picture"
        text = f"the {kind} {path} cannot be used ({reason}): repair or remove it"
        raise UserError(in_one_line(text + ("; no other one can be used" if skip_bad else
                                            ", or leave such out with --skip_bad")))
    if bad:
        names = ", ".join(str(path) for path, _ in bad[:3])
        say(f"left out {len(bad)} of {total} pictures that cannot be used: {names}{', ...' if len(bad) > 3 else ''}")
    if other:
        say(f"left out {sum(other.values())} files that cannot be read as images here ({counts})")
    return Images(images)


def _no_folder(data_dir: Union[str, Path]) -> str:
    if str(data_dir) and os.path.isdir(PROJECT / data_dir):
        return in_one_line(f"there is no folder {data_dir} in the working directory, but there is one in {PROJECT}: "
                           "run the scripts from there, or give its full path")
    return in_one_line(f"there is no folder {data_dir}: name one that holds pictures (.jpg, .png, .tif and so on)")


def _no_pictures(data_dir: Union[str, Path], left_out: Sequence[Path], counts: str) -> str:
    text = f"{data_dir} holds no pictures"
    if left_out:
        text += f" except in folders of runs, which are left out ({', '.join(map(str, left_out[:3]))})"
    if counts:
        text += f"{' and files' if left_out else ', only files'} that cannot be read as images here ({counts})"
    return in_one_line(f"{text}: name one that holds pictures (.jpg, .png, .tif and so on)")
