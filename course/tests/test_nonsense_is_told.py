"""A training run that fails with finite numbers warns once; a successful one prints no warning."""
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from course.tests.support import DIFFUSION, GAN, TRAIN, assert_done, run, write_images
from lib.model_diffusion import SimpleDiffusion
from lib.model_vae import VAE
from lib.monitor_gan import summary
from lib.train_diffusion import train
from lib.train_vae import mean_image_term, warning
from lib.utils import cosine_schedule, get_dataset

TINY_DIFFUSION = ("--n_samples", 2000, "--n_blocks", 1, "--n_units", 8, "--diffusion_steps", 5, "--no_video")
TINY_GAN = ("--data_dir", "images", "--batch_size", 4, "--ngf", 4, "--ndf", 4, "--no_images")


def warnings(done):
    assert_done(done)
    return [line for line in done.stdout.splitlines() if line.startswith("warning: ")]


# The variational autoencoder

@pytest.mark.parametrize("weight", [0, 1, 30, 1e6])
def test_a_vae_that_learns_gets_no_warning(tmp_path, small, weight):
    """There is no warning even after one epoch, when it still reconstructs worse than the mean image."""
    flags = ("--kl_loss_weight", weight, "--no_images", "--output_dir", "run")
    assert warnings(run(TRAIN, *small, *flags, "--num_epochs", 3, cwd=tmp_path)) == []


def test_a_vae_with_a_large_learning_rate_gets_one_warning(tmp_path, small):
    said = warnings(run(TRAIN, *small, "--lr", 0.5, "--num_epochs", 4, "--no_images", cwd=tmp_path))
    assert len(said) == 1 and "--lr" in said[0], said


class Constant(VAE):
    """A VAE that decodes every latent to the same image."""

    def __init__(self, image):
        super().__init__()
        self.image = image

    def decode(self, z):
        return self.image.expand(len(z), 1, 28, 28)


def test_the_warnings_of_a_vae():
    """The 100 images have two grey levels, 50 each: the mean is 0.4, and an untrained model decodes to 0.5."""
    images = torch.cat([torch.full((50, 1, 28, 28), 0.2), torch.full((50, 1, 28, 28), 0.6)])
    loader = [(images[:70], None), (images[70:], None)]
    mean_term = -784 * (0.4 * math.log(0.4) + 0.6 * math.log(0.6))
    assert mean_image_term(loader) == pytest.approx(mean_term, rel=1e-6)

    def said(*terms, image=0.5, kl=0.0):
        history = [{"train_kl": kl, "test_kl": 0.0, "test_reconstruction": term} for term in terms]
        return warning(Constant(torch.tensor(image)), loader, "cpu", history, mean_term)

    untrained = 784 * math.log(2)
    assert said(untrained) == said(1.09 * untrained) == said(2 * untrained, 1.06 * mean_term) == ""
    assert said(1.04 * mean_term, 1.04 * mean_term) == said(mean_term, 1.04 * mean_term) == ""
    assert "worse than the mean image, whose reconstruction term is 527.64" in said(1.11 * untrained)
    assert "worse than the mean image" in said(1.05 * mean_term, 1.06 * mean_term)
    assert "all decoded pixels are 0 or 1" in said(20 * untrained, image=0.0)
    assert "all decoded pixels are 0 or 1" in said(20 * untrained, image=1.0, kl=1e9)
    assert "the KL term is more than a hundred times" in said(mean_term, kl=101 * untrained)
    assert said(mean_term, kl=99 * untrained) == said(mean_term, image=1.0) == ""


# The diffusion model

def train_diffusion(capsys, model, learning_rate=0.0, points=4000, batch_size=2000, steps=5):
    """Train for three epochs; return what train printed."""
    torch.manual_seed(0)
    data = get_dataset("moons", points, np.random.default_rng(0))
    args = SimpleNamespace(batch_size=batch_size, device="cpu", epochs=3, diffusion_steps=steps, dataset="moons",
                           verbose=True)
    train(data, args, model, torch.optim.Adam(model.parameters(), learning_rate), cosine_schedule(steps)[0])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("blocks, units, embedding, steps, points, batch_size", [
    (8, 64, "sinusoidal, silu", 100, 4000, 2000), (8, 64, "sinusoidal", 100, 4000, 2000),
    (2, 32, "sinusoidal", 100, 4000, 100), (1, 2, "sinusoidal", 5, 2, 2000), (2, 64, "index", 1000, 4000, 2000),
    (1, 64, "index", 10000, 4000, 2000), (1, 64, "index", 10000, 2, 1)])
def test_a_diffusion_model_that_learns_gets_no_warning(capsys, blocks, units, embedding, steps, points, batch_size):
    """Try ten seeds each. With the index as an input, the first steps make the loss hundreds of times larger."""
    for seed in range(10):
        torch.manual_seed(seed)
        if embedding == "sinusoidal, silu":
            model = SimpleDiffusion(2, blocks, units, "sinusoidal", steps, "sinusoidal", "silu")
        else:
            model = SimpleDiffusion(2, blocks, units, embedding, steps)
        lines = train_diffusion(capsys, model, 1e-2, points, batch_size, steps)
        assert [line.split()[0] for line in lines] == 3 * ["epoch"], lines


def test_a_diffusion_model_with_a_large_learning_rate_gets_one_warning(tmp_path):
    done = run(DIFFUSION, *TINY_DIFFUSION, "--batch_size", 200, "--epochs", 3, "--learning_rate", 1e3, "--quiet",
               cwd=tmp_path)
    said, = warnings(done)
    assert "--learning_rate" in said and "a model that predicts no noise at all has a loss of 1" in said


class Steady(nn.Module):
    """A model with a chosen loss: it predicts zero noise plus a given error in every call."""

    def __init__(self, errors):
        super().__init__()
        self.errors, self.weight = iter(errors), nn.Parameter(torch.zeros(1))

    def forward(self, x, t):
        return torch.zeros_like(x) + self.weight + next(self.errors)


@pytest.mark.parametrize("errors, batch_size, epochs_that_warn", [
    ([2] * 300, 40, []),                            # the loss is 5
    ([0, 0, 0, 90, 0, 0], 2000, []),                # it is 1, then 4,051, then 1
    ([0, 0, 0, 150, 0, 0], 2000, [2]),              # it rises to 11,251
    ([0, 150, 0, 0, 150, 150], 2000, [1]),          # the warning comes once
    ([1000, 1000, 1000, 2000, 0, 0], 2000, []),     # it is already large without training
    ([4] * 300, 40, [3]),                           # it is 17 after 300 steps
    ([4] * 6, 2000, []),                            # it is 17 after only 6 steps
])
def test_when_the_diffusion_model_gets_its_warning(capsys, errors, batch_size, epochs_that_warn):
    """Train for three epochs of two or 100 batches; the loss of a batch is about 1 + error²."""
    lines = train_diffusion(capsys, Steady(errors), batch_size=batch_size)
    assert [int(lines[place - 1].split()[1].split("/")[0]) for place, line in enumerate(lines)
            if line.startswith("warning: ")] == epochs_that_warn


# The GAN

def row(loss_D=1.4, loss_G=0.7, D_x=0.5, D_G_z1=0.5):
    return {"epoch": 1, "loss_D": loss_D, "loss_G": loss_G, "D_x": D_x, "D_G_z1": D_G_z1}


@pytest.mark.parametrize("bad", [
    row(loss_D=100, loss_G=100, D_x=0, D_G_z1=0), row(loss_D=100, loss_G=0, D_x=1, D_G_z1=1),
    row(loss_D=50.7, loss_G=0, D_x=0.74, D_G_z1=0.75), row(loss_D=0, loss_G=80, D_x=0.9, D_G_z1=0.1),
    row(loss_D=1e-7, loss_G=17, D_x=1, D_G_z1=1e-8)])
def test_outputs_at_0_or_1_get_a_warning_at_once_and_once(bad):
    for before in [], [row()], 20 * [row()]:
        said = summary(before + [bad], 30)
        assert "\nwarning: the discriminator's outputs are stuck at 0 or 1" in said and "--lr" in said
    assert "warning" not in summary([row(), bad, bad], 30)


@pytest.mark.parametrize("fine", [row(), row(3, 12, 0.9, 0.1), row(0.01, 9, 0.999, 0.001), row(6, 6, 0.7, 0.9)])
def test_other_outputs_get_none_after_an_epoch(fine):
    assert "warning" not in summary([fine], 30)


@pytest.mark.parametrize("plain", [(), ("--plain",)], ids=["default", "plain"])
def test_a_gan_with_an_absurd_learning_rate_gets_one_warning(tmp_path, plain):
    write_images(tmp_path / "images")
    assert warnings(run(GAN, *TINY_GAN, *plain, "--num_epochs", 2, "--output_dir", "fine", cwd=tmp_path)) == []
    said, = warnings(run(GAN, *TINY_GAN, *plain, "--num_epochs", 4, "--lr", 1e9, cwd=tmp_path))
    assert "stuck at 0 or 1" in said and "--lr" in said
