"""DiffAugment: augmentation of everything that the discriminator sees (Zhao et al. 2020,
https://arxiv.org/abs/2006.10738).

With only a few hundred images, a discriminator soon memorises every one, and its feedback no longer teaches the
generator anything. Random translations and cutouts make memorising harder. Generated images are augmented in the same
way: if only real images had cutouts, the generator would learn to produce cutouts. And because the augmentations are
differentiable, the generator learns through them.

Shapes: B batch, C channels, H height, W width.
"""
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def translation(images: Tensor, pixels: int = 4) -> Tensor:
    """Shift each of B,C,H,W images by up to `pixels` in both directions; reflection fills the border."""
    batch, channels, height, width = images.shape
    down, right = torch.randint(2 * pixels + 1, (2, batch, 1), device=images.device)
    rows = down + torch.arange(height, device=images.device)                # B,H of the padded image
    columns = right + torch.arange(width, device=images.device)             # B,W
    padded = F.pad(images, (pixels,) * 4, mode="reflect")
    place = rows[:, :, None] * padded.shape[3] + columns[:, None, :]        # B,H,W
    place = place.flatten(1)[:, None].expand(-1, channels, -1)
    return padded.flatten(2).gather(2, place).view(batch, channels, height, width)


def cutout(images: Tensor) -> Tensor:
    """Mask a square in each of B,C,H,W images with grey: half as high (17 of 32 pixels), centred anywhere."""
    batch, _, height, width = images.shape
    row, column = torch.rand(2, batch, 1, device=images.device)
    rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
    in_rows = (rows - (row * (height + 1)).floor()).abs() <= height // 4    # B,H
    in_columns = (columns - (column * (width + 1)).floor()).abs() <= height // 4
    return images * ~(in_rows[:, None, :, None] & in_columns[:, None, None, :])


class DiffAugment(nn.Module):
    """A discriminator whose inputs are randomly translated and partly masked.

    Args:
        discriminator: takes B,C,H,W images with values in [-1, 1], where 0 is grey.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, images: Tensor) -> Tensor:
        """Judge B,C,H,W images after augmenting them."""
        return self.discriminator(cutout(translation(images)))
