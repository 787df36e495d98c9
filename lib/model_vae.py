"""The variational autoencoder of Kingma & Welling 2014, https://arxiv.org/abs/1312.6114.

An autoencoder compresses an image x into a few numbers z, the latent, and reconstructs it from them. A variational
autoencoder encodes an image into a distribution instead of a point. The encoder says which latents could have produced
this image,

    q(z | x) = N(mu(x), sigma(x)²),    independently for each of the L latents,

a latent is sampled from it, and the decoder reconstructs the image from that sample. Because the encodings are
uncertain and the loss (loss_vae.py) keeps them close to the prior N(0, 1), the latent space has no large gaps: sample
a z from the prior, decode it, and you get an image that is not in the dataset.

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
        # Create the five linear layers, in the order in which the data passes through them:
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
        """Compute the parameters of q(z | x).

        Why the logarithm of the variance? A linear layer may return any real number, but a variance must be positive.
        exp turns every logvar into a valid variance, and small and large variances are equally easy to reach.

        Args:
            x: B,C,H,W images with values in [0, 1].

        Returns:
            mu: B,L mean of each latent.
            logvar: B,L natural logarithm of its variance sigma².
        """
        # START TODO 1.1 ########################
        # Flatten the images to B,C*H*W. Apply the hidden layer and a ReLU, then apply the layers for mu and for logvar
        # to its output, without an activation: both may be any real number.
        # BEGIN SOLUTION
        hidden = torch.relu(self.encoder_hidden(x.flatten(start_dim=1)))
        return self.encoder_mu(hidden), self.encoder_logvar(hidden)
        # END SOLUTION
        # END TODO 1.1 ########################

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Sample z from N(mu, sigma²) so that gradients reach mu and logvar.

        Sampling from N(mu, sigma²) directly would block the gradient: a random number has no derivative. The
        reparameterization trick (Kingma & Welling 2014, section 2.4) separates out the randomness: sample epsilon from
        the fixed N(0, 1), and compute z = mu + sigma * epsilon. z has the same distribution as before, but now it
        depends on mu and sigma through a sum and a product, whose derivatives are 1 and epsilon.

        Args:
            mu: B,L means.
            logvar: B,L natural logarithms of the variances sigma².

        Returns:
            z: B,L. In training mode (self.training) a fresh sample; in evaluation mode mu, so that a trained model
                always gives the same result.
        """
        # START TODO 1.1 ########################
        # In evaluation mode, return mu. In training mode, compute the standard deviation sigma from logvar, sample
        # epsilon (a standard normal number for each image and each latent), and return z.
        # BEGIN SOLUTION
        if not self.training:
            return mu
        sigma = torch.exp(logvar / 2)
        return mu + sigma * torch.randn_like(sigma)
        # END SOLUTION
        # END TODO 1.1 ########################

    def decode(self, z: Tensor) -> Tensor:
        """Decode latents to images.

        Args:
            z: B,L latents.

        Returns:
            B,C,H,W images; a pixel is the probability, in (0, 1), that it is white.
        """
        # START TODO 1.1 ########################
        # Apply the hidden layer and a ReLU, then the output layer and a sigmoid. Reshape the result to B,C,H,W.
        # BEGIN SOLUTION
        hidden = torch.relu(self.decoder_hidden(z))
        pixels = torch.sigmoid(self.decoder_output(hidden))
        return pixels.view(-1, self.in_channels, self.in_height, self.in_width)
        # END SOLUTION
        # END TODO 1.1 ########################

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Encode images, sample their latents, and decode these.

        Args:
            x: B,C,H,W images with values in [0, 1].

        Returns:
            decoded: B,C,H,W reconstructions with values in (0, 1).
            mu, logvar: B,L each, from encode; the loss needs them.
        """
        # START TODO 1.1 ########################
        # Put the three steps together: encode, reparameterize, decode.
        # BEGIN SOLUTION
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        return self.decode(z), mu, logvar
        # END SOLUTION
        # END TODO 1.1 ########################
