"""The loss of the variational autoencoder: the negative evidence lower bound (Kingma & Welling 2014, equation 3).

Two opposing terms: the reconstruction term rewards decoding every image back to itself; the KL term pulls every
q(z | x) towards the prior N(0, 1). Their sum is an upper bound of -log p(x): lowering the loss makes the data more
probable under the model.
"""
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class VAELoss(nn.Module):
    """Reconstruction term plus weighted KL term, both summed over the batch.

    Args:
        kl_loss_weight: factor of the KL term. 1 gives the bound itself; other values are the beta of a beta-VAE
            (Higgins et al. 2017).
    """

    def __init__(self, kl_loss_weight: float = 1.0) -> None:
        super().__init__()
        self.kl_loss_weight = kl_loss_weight

    def forward(self, x_reconstructed: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        """Compute the loss of a batch.

        reconstruction: -log p(x | z), the binary cross entropy between the pixels x and the probabilities
            x_reconstructed.
        KL: the divergence KL(N(mu, sigma²) || N(0, 1)) with sigma² = exp(logvar); docs/kl_divergence.md derives it.

        Why sums and not means? log p(x | z) of an image is a sum over its pixels, the KL of its latents a sum over
        latents. Means would divide the first term by 784 and the second by L, which would make the KL term hundreds of
        times too strong. (A mean over the batch would be fine: it scales both equally.)

        Args:
            x_reconstructed: B,C,H,W with values in (0, 1).
            x: B,C,H,W with values in [0, 1], not only 0 and 1.
            mu, logvar: B,L each.

        Returns:
            A scalar, in nats: the sum over the batch.
        """
        # START TODO 1.2 ########################
        # Compute the binary cross entropy, summed over all pixels and images, and the KL divergence, summed
        # over all latents and images. Return the first plus self.kl_loss_weight times the second.
        # BEGIN SOLUTION
        reconstruction = F.binary_cross_entropy(x_reconstructed, x, reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mu ** 2 - torch.exp(logvar))
        return reconstruction + self.kl_loss_weight * kl
        # END SOLUTION
        # END TODO 1.2 ########################
