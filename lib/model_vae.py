"""The variational autoencoder of Kingma & Welling 2014, https://arxiv.org/abs/1312.6114.

An autoencoder squeezes an image x into a few numbers z, the latent, and paints it again from them. A
variational one does not encode into a point but into a distribution: the encoder says which latents may have
made this image,

    q(z | x) = N(mu(x), sigma(x)²),    each of the L latents on its own,

a latent is drawn from it, and the decoder paints from that draw. Because images are encoded with their
uncertainty and are kept close to the prior N(0, 1) by the loss (loss_vae.py), the latent space has no large gaps:
draw z from the prior, decode it, and an image appears that nobody has drawn.

Shapes: B batch, C channels, H height, W width, L latent size.
"""
from typing import Tuple

import torch
from torch import Tensor, nn


class VAE(nn.Module):
    """Encoder and decoder with one hidden layer each.

    Args:
        in_channels, in_height, in_width: shape C, H, W of an image.
        hidden_size: units of the hidden layer, in the encoder and in the decoder.
        latent_size: number L of latent variables.
    """

    def __init__(self, in_channels: int = 1, in_height: int = 28, in_width: int = 28, hidden_size: int = 100,
                 latent_size: int = 2) -> None:
        super().__init__()
        self.in_channels, self.in_height, self.in_width = in_channels, in_height, in_width
        self.hidden_size, self.latent_size = hidden_size, latent_size
        in_size = in_channels * in_height * in_width
        # START TODO 1.1 ########################
        # Create the five linear layers, in the order of the data's way:
        # in_size -> hidden_size (the encoder's hidden layer), hidden_size -> latent_size (mu),
        # hidden_size -> latent_size (logvar), latent_size -> hidden_size (the decoder's hidden layer),
        # hidden_size -> in_size (the image).
        # BEGIN SOLUTION
        self.encoder_hidden = nn.Linear(in_size, hidden_size)
        self.encoder_mu = nn.Linear(hidden_size, latent_size)
        self.encoder_logvar = nn.Linear(hidden_size, latent_size)
        self.decoder_hidden = nn.Linear(latent_size, hidden_size)
        self.decoder_output = nn.Linear(hidden_size, in_size)
        # END SOLUTION
        # END TODO 1.1 ########################

    def encode(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """The parameters of q(z | x).

        Why the logarithm of the variance: a linear layer gives any real number, a variance must be positive. exp makes
        every logvar a valid variance, and small and large variances are equally easy to reach.

        Args:
            x: B,C,H,W images with values in [0, 1].

        Returns:
            mu: B,L mean of each latent.
            logvar: B,L natural logarithm of its variance sigma².
        """
        # START TODO 1.1 ########################
        # Flatten the images to B,C*H*W. Apply the hidden layer and a ReLU, then the two layers for mu and
        # logvar side by side, with no activation: both may be any real number.
        # BEGIN SOLUTION
        hidden = torch.relu(self.encoder_hidden(x.flatten(start_dim=1)))
        return self.encoder_mu(hidden), self.encoder_logvar(hidden)
        # END SOLUTION
        # END TODO 1.1 ########################

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Draw z from N(mu, sigma²) such that gradients reach mu and logvar.

        No gradient passes through a random draw from N(mu, sigma²): a random number is no function with a derivative.
        So the randomness is moved aside (Kingma & Welling 2014, section 2.4): draw epsilon from the fixed N(0, 1), and
        compute z = mu + sigma * epsilon. z has the same distribution as before, but now depends on mu and sigma
        by a sum and a product, whose derivatives are 1 and epsilon.

        Args:
            mu: B,L means.
            logvar: B,L natural logarithms of the variances sigma².

        Returns:
            z: B,L. In training mode (self.training) a fresh sample; in evaluation mode mu, so that a trained model
                gives the same answer each time.
        """
        # START TODO 1.1 ########################
        # In evaluation mode return mu. In training mode get the standard deviation sigma from logvar, draw epsilon, a
        # standard normal number for each image and each latent, and return z.
        # BEGIN SOLUTION
        if not self.training:
            return mu
        sigma = torch.exp(logvar / 2)
        return mu + sigma * torch.randn_like(sigma)
        # END SOLUTION
        # END TODO 1.1 ########################

    def decode(self, z: Tensor) -> Tensor:
        """Paint images from latents.

        Args:
            z: B,L latents.

        Returns:
            B,C,H,W images, the probability in (0, 1) that a pixel is white.
        """
        # START TODO 1.1 ########################
        # Apply the hidden layer and a ReLU, then the output layer and a sigmoid. Give the result the shape B,C,H,W.
        # BEGIN SOLUTION
        hidden = torch.relu(self.decoder_hidden(z))
        pixels = torch.sigmoid(self.decoder_output(hidden))
        return pixels.view(-1, self.in_channels, self.in_height, self.in_width)
        # END SOLUTION
        # END TODO 1.1 ########################

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Encode images, draw their latents, decode them.

        Args:
            x: B,C,H,W images with values in [0, 1].

        Returns:
            decoded: B,C,H,W reconstructions with values in (0, 1).
            mu, logvar: B,L each, as encode gives them; the loss needs them.
        """
        # START TODO 1.1 ########################
        # Put the three steps together: encode, reparameterize, decode.
        # BEGIN SOLUTION
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        return self.decode(z), mu, logvar
        # END SOLUTION
        # END TODO 1.1 ########################
