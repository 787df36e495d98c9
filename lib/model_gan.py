"""The two networks of a DCGAN (Radford et al. 2016, https://arxiv.org/abs/1511.06434), for images of 32 by 32 pixels.

The generator turns noise into an image; the discriminator estimates the probability that an image is real. Each
learns from the other one (train_gan.py). They mirror each other: each layer of the generator doubles height and width
and halves the number of channels, and in the discriminator it is the other way round.

Shapes: B batch, C channels of an image, L latent size, M channels multiplier.
"""
from torch import Tensor, nn


def weights_init(layer: nn.Module) -> None:
    """Initialize the weights of a layer as in the paper; generator.apply(weights_init) does so for all layers.

    Convolutions and transposed convolutions get N(0, 0.02²); batch norm gets scales from N(1, 0.02²) and shifts of 0.
    """
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
        nn.init.zeros_(layer.bias)


class Generator(nn.Module):
    """Generate images from noise.

    The layers, with (kernel size, stride, padding), and the shape of their output:

        transposed convolution (4, 1, 0), batch norm, ReLU      B,8M,4,4
        transposed convolution (4, 2, 1), batch norm, ReLU      B,4M,8,8
        transposed convolution (4, 2, 1), batch norm, ReLU      B,2M,16,16
        transposed convolution (4, 2, 1), batch norm, ReLU      B,M,32,32
        convolution (3, 1, 1), tanh                             B,C,32,32

    No convolution has a bias: batch norm would subtract it again, and the last one needs none. The outputs of tanh are
    between -1 and 1, the range to which real images are scaled.

    Args:
        channels_multiplier: M, the width of the network.
        num_input_channels: C, the number of channels of an image.
        latent_size: L, how many random numbers an image is generated from.
    """

    def __init__(self, channels_multiplier: int = 32, num_input_channels: int = 3, latent_size: int = 64) -> None:
        super().__init__()
        # START TODO 3.1 ########################
        # Put the layers of the docstring into self.layers, an nn.ModuleList, with one entry for each layer and each
        # activation: 14 entries. Use nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d and nn.Tanh.
        # BEGIN SOLUTION
        m = channels_multiplier
        self.layers = nn.ModuleList([                                       # B,L,1,1
            nn.ConvTranspose2d(latent_size, 8 * m, 4, 1, 0, bias=False),    # B,8M,4,4
            nn.BatchNorm2d(8 * m),
            nn.ReLU(),
            nn.ConvTranspose2d(8 * m, 4 * m, 4, 2, 1, bias=False),          # B,4M,8,8
            nn.BatchNorm2d(4 * m),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * m, 2 * m, 4, 2, 1, bias=False),          # B,2M,16,16
            nn.BatchNorm2d(2 * m),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * m, m, 4, 2, 1, bias=False),              # B,M,32,32
            nn.BatchNorm2d(m),
            nn.ReLU(),
            nn.Conv2d(m, num_input_channels, 3, 1, 1, bias=False),          # B,C,32,32
            nn.Tanh(),
        ])
        # END SOLUTION
        # END TODO 3.1 ########################

    def forward(self, noise: Tensor) -> Tensor:
        """Generate images.

        Args:
            noise: B,L,1,1 samples of N(0, 1).

        Returns:
            B,C,32,32 images with values in [-1, 1].
        """
        x = noise
        for layer in self.layers:
            x = layer(x)
        return x


class Discriminator(nn.Module):
    """Estimate the probability that an image is real.

    The layers, with (kernel size, stride, padding), and the shape of their output:

        convolution (4, 2, 1), LeakyReLU                        B,M,16,16
        convolution (4, 2, 1), batch norm, LeakyReLU            B,2M,8,8
        convolution (4, 2, 1), batch norm, LeakyReLU            B,4M,4,4
        convolution (4, 1, 0), sigmoid                          B,1,1,1

    No convolution has a bias. LeakyReLU has a slope of 0.2 below zero, so that gradients reach the generator through
    every unit. There is no batch norm after the first convolution, where it would hide the brightness and contrast of
    the images, nor after the last.

    Args:
        channels_multiplier: M, the width of the network.
        num_input_channels: C, the number of channels of an image.
    """

    def __init__(self, channels_multiplier: int = 64, num_input_channels: int = 3) -> None:
        super().__init__()
        # START TODO 3.1 ########################
        # Put the layers of the docstring into self.layers, an nn.ModuleList, with one entry for each layer and each
        # activation: 10 entries. Use nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU and nn.Sigmoid.
        # BEGIN SOLUTION
        m = channels_multiplier
        self.layers = nn.ModuleList([                                       # B,C,32,32
            nn.Conv2d(num_input_channels, m, 4, 2, 1, bias=False),          # B,M,16,16
            nn.LeakyReLU(0.2),
            nn.Conv2d(m, 2 * m, 4, 2, 1, bias=False),                       # B,2M,8,8
            nn.BatchNorm2d(2 * m),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * m, 4 * m, 4, 2, 1, bias=False),                   # B,4M,4,4
            nn.BatchNorm2d(4 * m),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * m, 1, 4, 1, 0, bias=False),                       # B,1,1,1
            nn.Sigmoid(),
        ])
        # END SOLUTION
        # END TODO 3.1 ########################

    def forward(self, images: Tensor) -> Tensor:
        """Judge images.

        Args:
            images: B,C,32,32 images with values in [-1, 1].

        Returns:
            B,1,1,1 probabilities that they are real.
        """
        x = images
        for layer in self.layers:
            x = layer(x)
        return x
