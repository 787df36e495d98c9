"""Augmentation of what the discriminator sees (Zhao et al. 2020, https://arxiv.org/abs/2006.10738).

From a few hundred pictures a discriminator soon knows each by heart, and what it then says teaches the generator
nothing. Moved about, and with a part covered, they are harder to know. Generated pictures are changed in the same way:
were only the real ones covered, the generator would learn to cover its own. And as the changes can be differentiated,
the generator learns through them.

Shapes: B batch, C channels, H height, W width.
"""
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def translation(images: Tensor, pixels: int = 4) -> Tensor:
    """Move each of B,C,H,W pictures by up to so many pixels; mirrored at its edge, it goes on where it would end."""
    batch, channels, height, width = images.shape
    down, right = torch.randint(2 * pixels + 1, (2, batch, 1), device=images.device)
    rows = down + torch.arange(height, device=images.device)                # B,H of the padded picture
    columns = right + torch.arange(width, device=images.device)             # B,W
    padded = F.pad(images, (pixels,) * 4, mode="reflect")
    place = rows[:, :, None] * padded.shape[3] + columns[:, None, :]        # B,H,W
    place = place.flatten(1)[:, None].expand(-1, channels, -1)
    return padded.flatten(2).gather(2, place).view(batch, channels, height, width)


def cutout(images: Tensor) -> Tensor:
    """Cover a square in each of B,C,H,W pictures with grey: half as high (17 of 32 pixels), its middle anywhere."""
    batch, _, height, width = images.shape
    row, column = torch.rand(2, batch, 1, device=images.device)
    rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
    in_rows = (rows - (row * (height + 1)).floor()).abs() <= height // 4    # B,H
    in_columns = (columns - (column * (width + 1)).floor()).abs() <= height // 4
    return images * ~(in_rows[:, None, :, None] & in_columns[:, None, None, :])


class DiffAugment(nn.Module):
    """A discriminator that sees everything moved and in part covered, differently each time.

    Args:
        discriminator: takes B,C,H,W pictures with values in [-1, 1], where 0 is grey.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, images: Tensor) -> Tensor:
        return self.discriminator(cutout(translation(images)))
