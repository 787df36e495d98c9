"""What Apple's GPU (MPS) asks of the code, checked on the CPU: contiguous inputs for batch norm, and no float64."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

import lib.train_gan
from course.tests.support import write_images
from lib.digits import Digits, make_test_loader, make_train_loader
from lib.explore_latent_space import plot_latent_space
from lib.image_folder import load_images
from lib.model_diffusion import SimpleDiffusion
from lib.model_gan import Discriminator, Generator, weights_init
from lib.model_vae import VAE
from lib.run import Run
from lib.sample_diffusion import sample_ddim, sample_ddpm
from lib.sample_gan import generate, interpolate, prepare_generator, sample_noise
from lib.train_diffusion import train
from lib.train_gan import memory_format, train_gan
from lib.train_vae import train_vae
from lib.utils import cosine_schedule


def gan_run(tmp_path, plain=False, device="cpu"):
    """Train a small GAN for two epochs and sample from it."""
    write_images(tmp_path / "images")
    args = SimpleNamespace(batch_size=8, latent_size=5, ema_steps=500, num_epochs=2, lr=2e-4, beta1=0.5, plain=plain,
                           no_images=False, no_video=True, sample_every=2, evaluate_every=1, seed=0)
    torch.manual_seed(0)
    generator, discriminator = Generator(2, latent_size=5).apply(weights_init), Discriminator(3).apply(weights_init)
    images = load_images(tmp_path / "images").to(device)
    train_gan(generator, discriminator, images, args, Run(tmp_path / "run", {"seed": 0}))
    for batch_norm in ("measured", "stored", "batch"):
        for noise in [sample_noise(9, 5), *interpolate(sample_noise(6, 5).unflatten(0, (2, 3)), 2)]:
            generate(prepare_generator(generator, 5, batch_norm), noise)


# Layouts

@pytest.fixture
def seen(monkeypatch):
    """For each batch norm that runs, whether its inputs and the gradients of its outputs are contiguous."""
    found, forward = {"input": [], "gradient": []}, nn.BatchNorm2d.forward

    def watched(layer, x):
        found["input"].append(x.is_contiguous())
        output = forward(layer, x)
        if output.requires_grad:
            output.register_hook(lambda gradient: found["gradient"].append(gradient.is_contiguous()))
        return output

    monkeypatch.setattr(nn.BatchNorm2d, "forward", watched)
    return found


@pytest.mark.parametrize("plain", [False, True], ids=["default", "plain"])
def test_batch_norm_gets_contiguous_tensors_on_mps(tmp_path, monkeypatch, seen, plain):
    """In training, in the average, in its snapshots and distances, and in samples."""
    monkeypatch.setattr(lib.train_gan, "memory_format", lambda device: memory_format(torch.device("mps")))
    gan_run(tmp_path, plain)
    assert len(seen["input"]) > 100 and len(seen["gradient"]) > 50
    assert all(seen["input"]) and all(seen["gradient"])


def test_the_layout_is_channels_last_where_that_is_faster(tmp_path, seen):
    gan_run(tmp_path)
    assert not all(seen["input"])
    for name, expected in ("cpu", torch.channels_last), ("cuda", torch.channels_last), ("xpu", torch.contiguous_format):
        assert memory_format(torch.device(name)) == expected


def test_batches_are_contiguous(tmp_path):
    write_images(tmp_path / "images")
    images = load_images(tmp_path / "images")
    for batch in [images.crop_at(0.5, mirrored=True), *images.batches(8)]:
        assert batch.is_contiguous()
        assert lib.train_gan.DiffAugment(nn.Identity())(batch).is_contiguous()


# float64

class OnDevice(torch.Tensor):
    """A tensor, or a parameter, that is on the pretended device."""

    def __deepcopy__(self, memo):
        memo[id(self)] = copy = self.detach().clone().requires_grad_(self.requires_grad)
        copy._is_param = isinstance(self, nn.Parameter)
        return copy


class PretendedMPS(TorchFunctionMode):
    """Pretend that the CPU is the device "mps": mark every tensor that is moved to it, made on it or computed from one
    that is marked, and refuse what MPS refuses: float64, and NumPy before .cpu().
    """
    def __init__(self):
        super().__init__()
        self.marked = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, values = getattr(function, "__name__", ""), tree_flatten((args, kwargs or {}))[0]
        there = any(isinstance(value, (OnDevice, nn.Parameter)) for value in values)
        if getattr(function, "__self__", None) is torch.Tensor.device and there:
            return torch.device("mps")
        if name in ("numpy", "__array__") and there:
            raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() first")
        devices = [str(value) for value in values if isinstance(value, (str, torch.device))]
        if "mps" in devices and function is not torch.device:
            args, kwargs = tree_map(lambda value: torch.device("cpu") if isinstance(value, (str, torch.device))
                                    and str(value) == "mps" else value, (args, kwargs or {}))
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **(kwargs or {}))
        if name == "cpu" or "cpu" in devices:
            return result.as_subclass(torch.Tensor) if isinstance(result, OnDevice) else result
        return tree_map(self.mark, result) if there or "mps" in devices else result

    def mark(self, value):
        if not isinstance(value, torch.Tensor) or isinstance(value, nn.Parameter):
            return value
        if value.dtype == torch.float64:
            raise TypeError("the MPS framework doesn't support float64")
        self.marked += 1
        return value if isinstance(value, OnDevice) else value.as_subclass(OnDevice)


@pytest.fixture
def mps():
    with PretendedMPS() as mode:
        yield mode
    assert mode.marked > 100


def test_the_pretended_device_refuses_float64_and_numpy(mps):
    x = torch.zeros(3, device="mps")
    for wrong in (lambda: x.double(), lambda: torch.zeros(3, dtype=torch.float64).to("mps"), lambda: x.numpy(),
                  lambda: torch.tensor(np.zeros(3), device="mps"), lambda: x + torch.zeros(3, dtype=torch.float64),
                  lambda: nn.Linear(3, 3).to("mps")(x).double(), lambda: np.asarray(x)):
        with pytest.raises(TypeError):
            wrong()
    assert (x + 1).cpu().double().sum() == 3 and x.device.type == "mps"
    for _ in range(100):
        x = x + 1


def test_no_float64_on_the_device_in_the_gan(tmp_path, mps):
    gan_run(tmp_path, device="mps")


def test_no_float64_on_the_device_in_the_vae(tmp_path, mps):
    images = torch.rand(200, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    digits = Digits("mnist", (255 * images).to(torch.uint8), torch.arange(200) % 10, (255 * images).to(torch.uint8),
                    torch.arange(200) % 10)
    model, train_loader, test_loader = (
        VAE(hidden_size=20), make_train_loader(digits, 64, "mps"), make_test_loader(digits, "mps"))
    train_vae(model, train_loader, test_loader, 2, device="mps", output_dir=tmp_path / "run")
    plot_latent_space(model, test_loader, "mps", 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("embeddings", [("index", 10, "coordinates", "relu"), ("sinusoidal", 10, "sinusoidal", "silu")])
def test_no_float64_on_the_device_in_the_diffusion_model(mps, embeddings, dtype):
    """Points of NumPy's own precision too."""
    args = SimpleNamespace(batch_size=50, device="mps", epochs=2, diffusion_steps=10, dataset="moons", verbose=False)
    model, schedule = SimpleDiffusion(2, 2, 16, *embeddings), cosine_schedule(10)
    optimizer = torch.optim.Adam(model.parameters())
    train(np.zeros((200, 2), dtype), args, model, optimizer, schedule[0])
    noise = torch.randn(20, 2, device="mps")
    sample_ddpm(model, noise, schedule, 2.0, [5])
    sample_ddim(model, noise, schedule, 5)
