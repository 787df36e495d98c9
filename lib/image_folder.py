"""A folder of pictures, held in memory: each is decoded and scaled down once, and cut out anew for each batch."""
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple, Union

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lib.script import UserError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class Pictures:
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

    def to(self, device: Union[str, torch.device]) -> "Pictures":
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
        return self.pixels[pixel].permute(0, 3, 1, 2).float() / 127.5 - 1

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


def read_picture(path: Path, size: int) -> np.ndarray:
    """Read a picture of whatever format and colour mode: H,W,3 in uint8, its shorter side scaled down to size.

    Raises:
        ValueError, OSError, ...: Pillow cannot read it, or it is smaller.
    """
    with Image.open(str(path)) as image:
        image.draft(None, (2 * size, 2 * size))     # of a large JPEG decode no more than what is needed
        image = ImageOps.exif_transpose(image)      # a camera held upright notes it beside the pixels
        if image.mode.startswith(("I", "F")):       # 16 bits, or 0 to 1, which convert() would cut off at 255
            values = np.asarray(image, dtype=float) * (255 if image.mode == "F" else 1 / 257)
            image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
        if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
            image = image.convert("RGBA")           # what is transparent shows white
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB")
        if min(image.size) < size:
            raise ValueError(f"it has {image.size[0]} by {image.size[1]} pixels, and {size} by {size} are needed")
        scale = size / min(image.size)
        shape = tuple(max(size, round(side * scale)) for side in image.size)
        return np.asarray(image.resize(shape, Image.BILINEAR))


def load_pictures(data_dir: Union[str, Path], size: int = 32, skip_bad: bool = False) -> Pictures:
    """Load all pictures below a folder, however deep.

    Args:
        size: of the square that will be cut out.
        skip_bad: leave out those that cannot be read or are too small, and say so.

    Raises:
        UserError: there is no folder, no picture in it, or one of them cannot be used.
    """
    paths = sorted(path for path in Path(data_dir).rglob("*")
                   if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file())
    if not paths:
        missing = f"there is no folder {data_dir}" if not Path(data_dir).is_dir() else f"{data_dir} holds no pictures"
        raise UserError(f"{missing}: name one that holds pictures ({', '.join(ENDINGS[:3])} and so on)")
    images: List[np.ndarray] = []
    bad: List[Tuple[Path, str]] = []
    for path in paths:
        try:
            images.append(read_picture(path, size))
        except Exception as error:                  # Pillow raises many kinds
            bad.append((path, str(error) or type(error).__name__))
            if not skip_bad:
                break
    if bad and skip_bad and images:
        print(f"left out {len(bad)} of {len(paths)} pictures that cannot be used: "
              f"{', '.join(str(path) for path, _ in bad[:3])}{', ...' if len(bad) > 3 else ''}", flush=True)
    elif bad:
        path, reason = bad[0]
        raise UserError(f"the picture {path} cannot be used ({reason}): repair or remove it"
                        + ("; no other one can be used" if skip_bad else ", or leave such out with --skip_bad"))
    return Pictures(images)
