"""The student tests name mistakes correctly: an unlisted mistake gets no name, or one that describes it."""
import re
import warnings

import pytest
import torch

from course.bank.unlisted import FAMILIES, measure, messages, mistakes, names
from course.tests.support import WITH_TESTS
from tests import support

CROSS_ENTROPY = 'F.binary_cross_entropy(x_reconstructed, x, reduction="sum")'
KL = "-0.5 * torch.sum(1 + logvar - mu ** 2 - torch.exp(logvar))"
GENERATOR = """optimizerG.zero_grad()
output = discriminator(fake_images).view(-1)
errG = {}
errG.backward()
D_G_z2 = {}
optimizerG.step()
"""
MEAN = "output.mean().item()"
ADD_NOISE = """eps = torch.randn_like(batch)
baralpha = {}
noised = torch.sqrt(baralpha) * batch + torch.sqrt(1 - baralpha) * eps
return noised, eps
"""
TRAIN = """t = torch.randint(0, args.diffusion_steps, (len(batch), 1), device=batch.device)
noised, eps = add_noise(batch, t, baralphas)
loss = {}
optimizer.zero_grad()
loss.backward()
optimizer.step()
"""
LAYERS = """self.encoder_hidden = nn.Linear({}, hidden_size)
self.encoder_mu = nn.Linear(hidden_size, latent_size)
self.encoder_logvar = nn.Linear(hidden_size, latent_size)
self.decoder_hidden = nn.Linear(latent_size, hidden_size)
self.decoder_output = nn.Linear(hidden_size, in_size)
"""


def loss(reconstruction=CROSS_ENTROPY, kl=KL):
    return f"return {reconstruction} + self.kl_loss_weight * {kl}\n"


@pytest.fixture(autouse=True)
def quiet():
    """Ignore PyTorch's warnings about random mistakes, for instance about broadcast shapes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(threads)


def test_random_unlisted_mistakes_get_no_wrong_name():
    """Try one mistake of every family; `python -m course.bank.unlisted` tries 1,200."""
    number = sum(map(len, FAMILIES.values()))
    caught, named, wrong = measure(number, seed=5)
    assert not wrong, "\n".join(wrong)
    assert caught > 0.9 * number and named < 0.5 * number


def test_the_families_make_many_mistakes_of_every_task():
    made = list(mistakes(1200, seed=0))
    assert {task for task, *_ in made} == set(WITH_TESTS)
    assert len({(gap, code) for _, gap, code, _ in made}) > 800


@pytest.mark.parametrize("task, gap, code, right", [
    ("1.2", "VAELoss.forward", loss("-(x * torch.log(x_reconstructed + 1e-3) + (1 - x) * torch.log("
                                    "1 - x_reconstructed + 1e-3)).sum()"), "nothing"),
    ("1.2", "VAELoss.forward", loss('F.smooth_l1_loss(x_reconstructed, x, reduction="sum")'), "nothing"),
    ("1.2", "VAELoss.forward", loss(kl=KL.replace("logvar", "(logvar / 2)")), "nothing"),
    ("1.2", "VAELoss.forward", loss(kl=KL.replace("+ logvar", "- logvar / 2")), "nothing"),
    ("1.2", "VAELoss.forward", loss(kl='F.kl_div(mu, logvar, reduction="sum")'), "nothing"),
    ("1.2", "VAELoss.forward", loss('F.kl_div(x_reconstructed, x, reduction="sum")'), "nothing"),
    ("1.2", "VAELoss.forward", loss(kl=KL.replace("-0.5 *", "-0.5 /")), "nothing"),
    ("1.2", "VAELoss.forward", loss(kl=KL.replace("logvar", "logvar.abs()")), "nothing"),
    ("1.1", "VAE.__init__", LAYERS.format("in_channels"), "nothing"),
    ("1.1", "VAE.__init__", LAYERS.format("in_width * in_width"), "nothing"),
    ("1.1", "VAE.__init__", LAYERS.format("784"), "a size is written as a number"),
    ("1.1", "VAE.forward", "mu, logvar = self.encode(x)\nmu = mu + 1\nreturn self.decode(self.reparameterize("
     "mu, logvar)), mu, logvar\n", "nothing"),
    ("1.1", "VAE.reparameterize", "return mu + torch.exp(logvar / 2) if self.training else mu\n",
     "is epsilon drawn|or nothing is drawn"),
    ("2.2", "add_noise", ADD_NOISE.format("torch.cumprod(1 - baralphas, 0)[t]"), "nothing"),
    ("2.2", "add_noise", ADD_NOISE.format("baralphas[t] * 0 + baralphas[0]"),
     "timestep 0|the noise for one timestep"),
    ("2.2", "train", TRAIN.format("F.mse_loss(model(noised, t), eps ** 2)"), "nothing"),
    ("2.2", "train", TRAIN.format("F.mse_loss(model(noised, t), eps)") + 'optimizer.param_groups[0]["lr"] *= 0.9\n',
     "the gap changes the optimizer's learning rate"),
    ("2.2", "train", TRAIN.format("F.kl_div(model(noised, t), eps)"), "nothing"),
    ("3.2", "update_discriminator#2", """fake_images = generator(noise)
output = discriminator(fake_images.detach() + 4).view(-1)
errD_fake = F.binary_cross_entropy(output, torch.zeros_like(label))
errD_fake.backward()
D_G_z1 = output.mean().item()
optimizerD.step()
""", "does not get the generated images as they are"),
    ("3.2", "update_generator", GENERATOR.format("F.binary_cross_entropy(output, label)", "output.mean()"),
     "D_G_z2 is still a tensor"),
    ("3.2", "update_generator", GENERATOR.format("output.mean()", MEAN),
     "this is the mean of the outputs"),
    ("3.2", "update_generator", GENERATOR.format("-output.mean()", MEAN), "the logarithm is missing"),
    ("3.2", "update_generator", GENERATOR.format(
        "F.binary_cross_entropy_with_logits(output, 0.9 * label)", MEAN), "nothing"),
    ("3.2", "update_generator", GENERATOR.format(
        "F.binary_cross_entropy(output, label - 0.3 * torch.rand_like(label))", MEAN), "the labels differ"),
])
def test_examples_are_named_correctly_or_not_at_all(task, gap, code, right):
    given = []
    for seed in range(25 if task == "1.2" else 5):
        said = messages(task, gap, code, seed)
        assert said
        given += [name for name in names(said) if "see what" not in name]
    assert not [name for name in given if not re.search(right, name)], given
    assert given or right == "nothing"


def test_distributions_are_told_apart():
    """Test 200 sets of 1,000 numbers each; a normal set is rejected once in 100,000."""
    torch.manual_seed(0)
    normal, uniform = torch.randn(200, 1000).numpy(), torch.rand(200, 1000).numpy()
    assert all(map(support.is_normal, normal)) and not any(map(support.is_normal, uniform))
    assert all(support.is_uniform(some, 0, 1) for some in uniform)
    assert not any(support.is_uniform(some, 0, 1) or support.is_normal(2 * some) for some in normal)
