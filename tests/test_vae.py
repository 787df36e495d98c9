"""Task 1.1: the layers of the VAE, encode, reparameterize, decode and forward, in lib/model_vae.py."""
import math
from itertools import product

import numpy as np
import torch
from torch import nn

from tests.support import (
    Gives,
    When,
    assert_close,
    close,
    fail,
    fresh,
    gradients,
    is_normal,
    is_uniform,
    run_this_file,
    same_numbers,
    task,
    unpack,
)

# All sizes differ, so shapes identify a layer and a transposed image. With this many units and latents, some are surely
# positive and some negative.
B, C, H, W, HIDDEN, L = 10, 2, 3, 5, 41, 17
PIXELS = C * H * W
OTHER_SIZES = {"in_channels": 4, "in_height": 6, "in_width": 7, "hidden_size": 43, "latent_size": 19}
SIZES = f"VAE(in_channels={C}, in_height={H}, in_width={W}, hidden_size={HIDDEN}, latent_size={L})"
LAYERS = (PIXELS, HIDDEN), (HIDDEN, L), (HIDDEN, L), (L, HIDDEN), (HIDDEN, PIXELS)
READ_ENCODE = "the docstring of VAE.encode and its gap"
NAN = "z is NaN where logvar is negative, from a square root or logarithm of logvar: apply exp first"
ROUNDED = ", or passes through a function with derivative 0 (round, sign)"
CLAMPED = "is limited to a range (clamp), but it may be any number"
MODE = "depends on the mode (self.training): only reparameterize may"
SAMPLES = 20000     # enough to judge a distribution; every tolerance is at least six standard errors of the statistic


# The functions that touch lib

def new_model(seed, scale=0.3, weights=()):
    """Return a VAE with weights so large that every activation shows, and its layers in the order of LAYERS.

    Args:
        weights: pairs of weight and bias of these layers; random if not given.
    """
    from lib.model_vae import VAE
    torch.manual_seed(seed)
    model = VAE(in_channels=C, in_height=H, in_width=W, hidden_size=HIDDEN, latent_size=L)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, scale)
        layers = find_layers(model, VAE(**OTHER_SIZES))
        for layer, (weight, bias) in zip(layers, weights):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(bias))
    return model, layers


def find_layers(model, other):
    """Find the linear layers by their shapes: names, nesting and order are free, and so is which of two gives mu.

    Args:
        other: a VAE of OTHER_SIZES. A wrong number that occurs in both was not computed from the sizes.
    """
    layers, of_other = ([module for module in vae.modules() if isinstance(module, nn.Linear)] for vae in (model, other))
    found, others = ([(layer.in_features, layer.out_features) for layer in some] for some in (layers, of_other))
    if sorted(found) != sorted(LAYERS):
        in_plain_list = any(isinstance(item, nn.Module) and item not in list(model.modules())
                            for value in vars(model).values() if isinstance(value, (list, tuple)) for item in value)
        literal = len(found) == len(others) == len(LAYERS) and any(
            number == in_other for one, two in zip(found, others) for number, in_other in zip(one, two))
        fail(what=f"The linear layers of {SIZES}", expected=shapes_in_words(LAYERS), got=shapes_in_words(found),
             hints=[
                 When("PyTorch does not see layers in a plain list, and no optimizer would train them; make each an "
                      "attribute of self, or use nn.ModuleList", in_plain_list),
                 When("mu and logvar share one layer, or one of them has none: each needs its own",
                      sorted(found) == sorted(set(LAYERS))),
                 When("one layer gives both mu and logvar; each needs its own",
                      len(found) == 4 and (HIDDEN, 2 * L) in found),
                 When("a hidden layer is missing", len(found) == 4 and ((PIXELS, L) in found or (L, PIXELS) in found)),
                 When("an image has C*H*W numbers, the pixels of all its channels", (H * W, HIDDEN) in found),
                 When("a size is written as a number: use the sizes given to VAE(...)", literal),
                 When("there are too many layers", len(found) > len(LAYERS)),
             ], read="the lines in the gap of VAE.__init__")
    if any(layer.bias is None for layer in layers):
        fail(what=f"The linear layers of {SIZES}", expected="a bias in each", got="a layer without a bias",
             hints=[When("bias=False is set", True)])
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    if frozen:
        fail(what=f"The parameters of {SIZES} with requires_grad", expected="all of them",
             got="none" if len(frozen) == len(list(model.parameters())) else "only some of them",
             hints=[When("a layer is frozen (requires_grad is False): it would not be trained", True)],
             read="the lines in the gap of VAE.__init__")
    return sorted(layers, key=lambda layer: LAYERS.index((layer.in_features, layer.out_features)))


def shapes_in_words(shapes):
    return ", ".join(f"{before} -> {after}" for before, after in shapes) or "none"


def assert_no_side_effects(model, training, seed):
    """Check that the calls have left the model's mode and PyTorch's seed alone."""
    if model.training != training:
        modes = ["evaluation mode", "training mode"]
        fail(what="The model's mode after encode, decode and forward", expected=modes[training],
             got=modes[not training],
             hints=[When("your code calls self.train() or self.eval(): only the code that uses the model may", True)])
    if torch.initial_seed() != seed:
        fail(what="PyTorch's random seed after encode, decode and forward", expected="unchanged", got="another seed",
             hints=[When("your code sets a seed (torch.manual_seed): every batch would get the same noise", True)])


def new_parameters(seed):
    """Return how many parameters a new VAE() has, and whether the numbers of any layer differ."""
    from lib.model_vae import VAE
    new_model(seed)
    parameters = list(VAE().parameters())
    return sum(parameter.numel() for parameter in parameters), any(
        bool((parameter != parameter.flatten()[0]).any()) for parameter in parameters)


def encode(images, weights, seed):
    """Return the results for the same images, twice in training mode and once in evaluation mode."""
    model, _ = new_model(seed, weights=weights)
    return [model.train(training).encode(torch.tensor(images)) for training in (True, True, False)]


def decode(z, weights, seed):
    """Return the images, the first one as decoded alone, and the images in evaluation mode."""
    model, _ = new_model(seed, weights=weights)
    z = torch.tensor(z)
    return model.decode(z), model.decode(z[:1]), model.eval().decode(z)


def reparameterize(mu, logvar, seed, training=True):
    """Draw two samples, one after the other, after ten samples of a small batch."""
    model = new_model(seed)[0].train(training)
    mu, logvar = torch.tensor(mu), torch.tensor(logvar)
    for _ in range(10):
        model.reparameterize(mu[:4], logvar[:4])
    return [model.reparameterize(mu, logvar) for _ in range(2)]


def reparameterize_gradients(mu, logvar, factors, seed):
    model = new_model(seed)[0]
    mu, logvar = torch.tensor(mu, requires_grad=True), torch.tensor(logvar, requires_grad=True)
    z = model.reparameterize(mu, logvar)
    return {"z": z, "gradients": gradients(z, torch.tensor(factors), [mu, logvar])}


def forward(images, known_z, seed, training=True):
    """Return the results of forward, encode and decode of a model whose decoder writes z into the first L pixels.

    Its hidden layer holds z and -z, and z = relu(z) - relu(-z), so pixel i is sigmoid(z[i] / 20).
    """
    model, layers = new_model(seed, scale=0.2)
    with torch.no_grad():
        for layer in layers[3:]:
            layer.weight.zero_()
            layer.bias.zero_()
        for i in range(L):
            layers[3].weight[2 * i, i], layers[3].weight[2 * i + 1, i] = 1, -1
            layers[4].weight[i, 2 * i], layers[4].weight[i, 2 * i + 1] = 1 / 20, -1 / 20
    model.train(training)
    torch.manual_seed(seed)
    images = torch.tensor(images)
    results = {"encode": model.encode(images), "decode": model.decode(torch.tensor(known_z)), "forward": model(images)}
    assert_no_side_effects(model, training, seed)
    return results


def forward_single(image, seed, training):
    """Return the results of forward for an image with one channel and a single latent variable, two samples z of it,
    and one of two equal images.

    Before that, forward gets a batch of four images.
    """
    from lib.model_vae import VAE
    torch.manual_seed(seed)
    model = VAE(in_channels=1, in_height=H, in_width=W, latent_size=1).train(training)
    image, zero = torch.tensor(image), torch.zeros(1, 1)
    model(image.repeat(4, 1, 1, 1))
    return {"forward": model(image), "z": [model.reparameterize(zero, zero) for _ in range(2)],
            "z_of_two": model.reparameterize(zero.repeat(2, 1), zero.repeat(2, 1))}


def layers_reached(images, seed):
    """Return for each result of encode and of forward which of the five layers its gradient reaches."""
    model, layers = new_model(seed)
    torch.manual_seed(seed)
    images, weights = torch.tensor(images), [layer.weight for layer in layers]
    results = [*model.encode(images), *model(images)]
    assert_no_side_effects(model, True, seed)
    return [[bool(gradient.any()) for gradient in gradients(result, torch.rand(result.shape), weights)]
            for result in results]


# What is expected, in float64

def random_images(number=B):
    return np.random.default_rng(fresh()).random((number, C, H, W), dtype=np.float32)


def random_latents(number=B):
    return np.random.default_rng(fresh()).standard_normal((number, L), dtype=np.float32)


def random_weights():
    """Return weight and bias of each of the LAYERS."""
    rng = np.random.default_rng(fresh())
    return [[rng.normal(0, 0.3, shape).astype(np.float32) for shape in ((after, before), after)]
            for before, after in LAYERS]


def linear(layer, x):
    weight, bias = (np.asarray(parameter, dtype=np.float64) for parameter in layer)
    return x @ weight.T + bias


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


OTHER_ACTIVATIONS = [
    ("no activation", lambda x: x), ("a tanh", np.tanh), ("a sigmoid", sigmoid), ("a softplus", softplus),
    ("a ReLU6, which is never above 6", lambda x: np.clip(x, 0, 6)),
    ("a leaky ReLU", lambda x: np.where(x > 0, x, 0.01 * x)), ("an ELU", lambda x: np.where(x > 0, x, np.expm1(x))),
    ("a GELU", np.vectorize(lambda x: x * (1 + math.erf(x / 2 ** 0.5)) / 2)), ("a SiLU", lambda x: x * sigmoid(x)),
]


def right_encoding(images, hidden, for_mu, for_logvar, activation=relu):
    units = activation(linear(hidden, images.reshape(B, PIXELS)))
    return np.array([linear(for_mu, units), linear(for_logvar, units)])


def mistakes_of_encode(images, *layers):
    """Return pairs of a known mistake, and the mu and logvar that it gives."""
    mu, logvar = right_encoding(images, *layers)
    mistakes = [(f"expected a ReLU in the encoder's hidden layer, but there is {name}",
                 right_encoding(images, *layers, activation=activation)) for name, activation in OTHER_ACTIVATIONS]
    for name, function in (("ReLU", relu), ("softplus", softplus), ("sigmoid", sigmoid), ("tanh", np.tanh)):
        mistakes += [
            (f"there is a {name} on logvar, which may be any number", [mu, function(logvar)]),
            (f"there is a {name} on mu, which may be any number", [function(mu), logvar]),
            (f"there is a {name} on mu and on logvar, which may be any number", [function(mu), function(logvar)]),
        ]
    return mistakes + [
        ("this is the variance, but the layer gives logvar", [mu, np.exp(logvar)]),
        ("this is the standard deviation, but the layer gives logvar", [mu, np.exp(logvar / 2)]),
        ("the image is transposed before it is flattened", right_encoding(images.transpose(0, 1, 3, 2), *layers)),
        ("the channels are moved to the end before the image is flattened",
         right_encoding(images.transpose(0, 2, 3, 1), *layers)),
    ]


def z_in_pixels(images):
    """Read the z that the decoder of `forward` has written into the images."""
    pixels = images.reshape(len(images), PIXELS)[:, :L].astype(np.float64)
    with np.errstate(all="ignore"):
        return 20 * np.log(pixels / (1 - pixels))


def run_forward(call, **inputs):
    """Return the z that forward decodes, and its mu and logvar, which must equal those of encode."""
    known_z = random_latents()
    got = call(forward, images=random_images(SAMPLES), known_z=known_z, seed=fresh(), **inputs)
    encoded_mu, encoded_logvar = unpack(got=got["encode"], function="VAE.encode",
                                        shapes={"mu": (SAMPLES, L), "logvar": (SAMPLES, L)})
    images, = unpack(got=[got["decode"]], function="VAE.decode", shapes={"images": (B, C, H, W)})
    assert_close(what="The z recovered from an image from VAE.decode", got=z_in_pixels(images), expected=known_z,
                 rtol=1e-3, atol=1e-3,
                 read="the message from the test of VAE.decode; VAE.forward can only be tested once decode is right")
    decoded, mu, logvar = unpack(
        got=got["forward"], function="VAE.forward",
        shapes={"decoded": (SAMPLES, C, H, W), "mu": (SAMPLES, L), "logvar": (SAMPLES, L)})
    z, sigma = z_in_pixels(decoded), np.exp(encoded_logvar / 2)
    is_z, sampled = close(mu, z, rtol=1e-3, atol=1e-3), is_normal((mu - encoded_mu) / sigma)
    read = "the docstring of VAE.forward"
    assert_close(
        what="The second result of VAE.forward, which is encode's mu", got=mu, expected=encoded_mu, read=read,
        hints=[
            Gives("this is logvar", encoded_logvar),
            When("this is the sample z, or mu was changed in place (+=)", is_z and sampled),
        ])
    assert_close(
        what="The third result of VAE.forward, which is encode's logvar", got=logvar, expected=encoded_logvar,
        read=read,
        hints=[
            Gives("this is the standard deviation", sigma),
            Gives("this is the variance", sigma ** 2),
            Gives("this is mu", encoded_mu),
        ])
    check_single(call, **inputs)
    return z, np.asarray(mu, dtype=np.float64), np.asarray(logvar, dtype=np.float64)


def check_single(call, training=True):
    """Check the shapes for a batch of one image with one channel, and one latent; in training mode it is sampled."""
    shapes = {"decoded": (1, 1, H, W), "mu": (1, 1), "logvar": (1, 1)}
    results = call(forward_single, image=random_images(1)[:, :1], seed=fresh(), training=training)
    got, z = results["forward"], results["z"]
    sizes = [np.size(part) for part in got] if isinstance(got, list) else []
    unpack(got=got, function="VAE.forward", shapes=shapes, hints=[
        When("dimensions of size 1 are lost (squeeze): a batch may have one image, an image one channel, and z one "
             "latent", sizes == [np.prod(shape) for shape in shapes.values()])])
    if training and not (np.isfinite(z).all() and z[0] != z[1]):
        fail(what="Two samples z for a batch of one image", expected="two different numbers",
             got=f"{np.ravel(z)[0]:.5g} and {np.ravel(z)[1]:.5g}", read="the docstring of VAE.reparameterize",
             hints=[When("the noise depends on a mean or standard deviation over the batch, which may have one image",
                         not np.isfinite(z).all()),
                    When("nothing is sampled where the batch has one image", np.ptp(results["z_of_two"]) > 0)])


# The tests

@task("1.1")
def test_layers(call):
    """There are five linear layers, each with a bias, and no other parameters: 158,388 numbers by default."""
    got, some_differ = call(new_parameters, seed=fresh())
    assert_close(
        what="The number of parameters of VAE()", got=got, expected=158388, rtol=0, atol=0,
        read="the gap in VAE.__init__",
        hints=[When("there are parameters besides the five linear layers", np.all(np.greater(got, 158388)))])
    if not some_differ:
        fail(what="The weights and biases of a new VAE()", expected="random numbers", got="equal numbers in each layer",
             hints=[When("they are set to a constant: all units of a layer would learn the same", True)],
             read="the gap in VAE.__init__")


@task("1.1")
def test_encode(call):
    """The flattened image goes through a linear layer and a ReLU, and then through one layer each to mu and logvar."""
    images, weights = random_images(), random_weights()
    for _, bias in weights[1:3]:
        bias[:] = np.random.default_rng(fresh()).permutation(np.linspace(-60, 60, L))   # mu and logvar have no limits
    weights[0][1][0] = 20                                                               # a ReLU has no upper limit
    results = call(encode, images=images, weights=weights, seed=fresh())
    parts, again, evaluated = (unpack(got=result, function="VAE.encode", shapes={"mu": (B, L), "logvar": (B, L)})
                               for result in results)
    if np.isfinite([parts, again]).all() and not close(parts, again):
        fail(what="mu and logvar from VAE.encode, for the same images in two calls", expected="equal numbers",
             got="different numbers", read=READ_ENCODE,
             hints=[When("encode contains dropout or random noise: only reparameterize may be random", True)])
    if np.isfinite([parts, evaluated]).all() and not close(parts, evaluated):
        fail(what="mu and logvar from VAE.encode, for the same images in training and in evaluation mode",
             expected="equal numbers", got="different numbers", read=READ_ENCODE,
             hints=[When(f"encode {MODE}", True)])
    if close(*parts):
        fail(what="mu and logvar from VAE.encode", expected="the results of two different layers",
             got="the same numbers twice", read=READ_ENCODE,
             hints=[When("logvar equals mu, but each needs its own layer", True)])
    images = images.astype(np.float64)
    hidden, first, second = weights[:3]
    ways = [(first, second), (second, first)]           # the test cannot know which of the two layers gives mu
    expected = [right_encoding(images, hidden, *way) for way in ways]
    nearest = min(expected, key=lambda way: np.abs(np.subtract(way, parts)).sum())
    hints = [When(mistake, close(parts, given)) for way in ways
             for mistake, given in mistakes_of_encode(images, hidden, *way)]
    for name, part, right in zip(("mu", "logvar"), parts, nearest):
        assert_close(what=f"{name} from VAE.encode", got=part, expected=right, read=READ_ENCODE,
                     hints=hints + [Gives(f"{name} {CLAMPED}", right.clip(np.min(part), np.max(part)))])


@task("1.1")
def test_reparameterize_draws_normal_numbers(call):
    """In training mode z is normal, and each latent has its own mean mu and variance exp(logvar)."""
    rng = np.random.default_rng(fresh())
    mu, logvar = rng.permutation(np.linspace(-8, 8, L)), rng.permutation(np.linspace(-14, 25, L))
    rows = np.ones((SAMPLES, 1), dtype=np.float32)
    got = call(reparameterize, mu=rows * mu.astype("f"), logvar=rows * logvar.astype("f"), seed=fresh())
    z, again = (unpack(got=[part], function="VAE.reparameterize", shapes={"z": (SAMPLES, L)})[0].astype(np.float64)
                for part in got)
    sigma = np.sqrt(np.exp(logvar))
    read = "the docstring of VAE.reparameterize"

    of_samples = f"of {SAMPLES} samples z of each latent"
    epsilon, one_row = (z - mu) / sigma, np.ptp(z, axis=0).max() < 1e-3
    # standard error of a mean: sigma / sqrt(SAMPLES) = 0.007 sigma
    swapped = np.abs((z.mean(0) - logvar) / np.exp(mu / 2)).max() < 0.05
    with np.errstate(divide="ignore"):
        logvar_found = 2 * np.log(z.std(0))
    # relative standard error of a standard deviation: 1 / sqrt(2 * SAMPLES) = 0.005
    assert_close(
        what=f"The standard deviations {of_samples}", got=z.std(0), expected=sigma, rtol=0.035, atol=1e-6, read=read,
        hints=[
            When("nothing is sampled in training mode, when self.training is True", close(z, rows * mu)),
            When("z is the same for every image and in every call: is epsilon drawn?", one_row and close(z, again)),
            When("the whole batch gets the same noise vector: epsilon needs the shape of mu", one_row),
            Gives("this is the variance instead of the standard deviation", np.exp(logvar)),
            Gives("logvar itself is used as the standard deviation", np.abs(logvar)),
            Gives("logvar / 2 is used as the standard deviation, without exp", np.abs(logvar) / 2),
            Gives("this is exp(-logvar / 2): the sign is wrong", 1 / sigma),
            Gives("this is the square of the variance", np.exp(2 * logvar)),
            Gives("the noise has standard deviation 1: logvar does not scale it", np.ones(L)),
            When("mu and logvar are swapped in reparameterize",
                 swapped and close(z.std(0), np.exp(mu / 2), rtol=0.035, atol=0)),
            When("the noise is uniform from 0 to 1 (torch.rand) instead of standard normal",
                 is_uniform(epsilon, 0, 1)),
            When("the noise is uniform from -1 to 1 instead of standard normal", is_uniform(epsilon, -1, 1)),
            When(NAN, np.array_equal(np.isnan(z), np.broadcast_to(logvar < 0, z.shape))),
            When(f"logvar {CLAMPED}", np.ptp(logvar_found) > 5 and np.abs(logvar_found - logvar).max() > 1 and close(
                logvar_found, logvar.clip(logvar_found.min(), logvar_found.max()), rtol=0, atol=0.1)),
        ])
    assert_close(what="The means of epsilon = (z - mu) / sigma", got=epsilon.mean(0), expected=np.zeros(L),
                 rtol=0, atol=0.05, read=read,
                 hints=[Gives("mu is missing from z = mu + sigma * epsilon", -mu / sigma)])
    # standard error of the fourth moment: sqrt(96 / SAMPLES) = 0.07
    assert_close(
        what="The fourth moments of epsilon = (z - mu) / sigma", got=(epsilon ** 4).mean(0), expected=3 * np.ones(L),
        rtol=0, atol=0.7, read=read,
        hints=[
            When("the noise is uniform instead of standard normal", is_uniform(epsilon, -3 ** 0.5, 3 ** 0.5)),
            When("the noise is only -1 or 1 instead of standard normal", np.abs(np.abs(epsilon) - 1).max() < 1e-3),
        ])
    # that no number among so many is above 3.5 has a probability of e^-158
    if np.abs(epsilon).max() < 3.5:
        fail(what="The largest of all epsilon = (z - mu) / sigma", expected="above 3.5",
             got=f"{np.abs(epsilon).max():.5g}", read=read,
             hints=[When("the noise is limited to a range (clamp), but normal numbers are not", True)])


@task("1.1")
def test_noise_is_fresh_everywhere(call):
    """Every image, every latent and every call gets its own noise."""
    rng = np.random.default_rng(fresh())
    mu, logvar = (np.full((SAMPLES, L), number, dtype=np.float32) for number in rng.uniform(0.5, 1.5, 2))
    got = call(reparameterize, mu=mu, logvar=logvar, seed=fresh())
    read = "the gap in VAE.reparameterize: one number for each image and each latent"
    z = [unpack(got=[part], function="VAE.reparameterize", shapes={"z": (SAMPLES, L)})[0] for part in got]
    first, second = np.asarray(z, dtype=np.float64)
    constant = [When(mistake, np.abs(differences).max() < 1e-3) for mistake, differences in (
        ("nothing is sampled in training mode", first - mu),
        ("the noise is the same on every call, or nothing is drawn: draw epsilon on every call, without a seed",
         first - second),
        ("the whole batch gets the same noise vector: epsilon needs the shape of mu", np.ptp(first, axis=0)),
        ("all latents of an image get the same number: epsilon needs the shape of mu", np.ptp(first, axis=1)))]
    if any(hint.shown for hint in constant):
        fail(what="z for equal mu and logvar", expected="random and independent numbers",
             got="the same numbers again and again", hints=constant, read=read)
    if not np.isfinite(z).all():
        fail(what="z for equal mu and logvar", expected="finite numbers", got="infinite numbers or NaN", read=read)
    first, second = np.array(z) + rng.normal(0, 1e-6, np.shape(z))      # breaks ties with the median
    one, two, half = (first > np.median(first, axis=0)), (second > np.median(second, axis=0)), SAMPLES // 2
    for name, these, those in (
            ("two latents of an image", one[:, :-1], one[:, 1:]), ("two calls", one, two),
            ("one image and the next", one[:-1], one[1:]), ("the two halves of a batch", one[:half], one[half:])):
        # standard error of a share: at most 0.5 / sqrt(half) = 0.005
        share = (these == those).mean(0)
        assert_close(what=f"How often z for {name} lies on the same side of its median", got=share,
                     expected=np.full(len(share), 0.5), rtol=0, atol=0.035, read=read,
                     hints=[When("the noise in the two is not independent", True)])


@task("1.1")
def test_gradients_pass_through_the_sample(call):
    """The derivative of z = mu + sigma * epsilon is 1 for mu and sigma * epsilon / 2 for logvar."""
    mu, logvar, factors = random_latents(), random_latents(), random_latents()
    mu[:] = np.random.default_rng(fresh()).permutation(np.linspace(-60, 60, mu.size)).reshape(mu.shape)
    got = call(reparameterize_gradients, mu=mu, logvar=logvar, factors=factors, seed=fresh())
    for_mu, for_logvar = got["gradients"]
    z, = unpack(got=[got["z"]], function="VAE.reparameterize", shapes={"z": (B, L)})
    deviation = z.astype(np.float64) - mu
    read = "the docstring of VAE.reparameterize"
    assert_close(
        what="The gradient of mu through z (the derivative is 1)", got=for_mu, expected=factors, read=read,
        hints=[
            When("no gradient reaches mu or logvar: sample(), detach(), no_grad and torch.normal(mu, sigma) stop it",
                 not for_mu.any() and not for_logvar.any()),
            When("no gradient reaches mu: it is detached, rounded or not used", not for_mu.any()),
            Gives(f"mu {CLAMPED}", np.where(for_mu, factors, 0)),
            Gives("mu and logvar are swapped in reparameterize", factors * (z - logvar) / 2),
        ])
    assert_close(
        what="The gradient of logvar through z (the derivative is (z - mu) / 2)",
        got=for_logvar, expected=factors * deviation / 2, rtol=1e-3, read=read,
        hints=[
            When("no gradient reaches logvar: the standard deviation is detached, rounded or not computed from it",
                 not for_logvar.any()),
            Gives("this is the derivative of exp(logvar), the variance", factors * deviation),
            Gives("this is the derivative of exp(-logvar / 2): the sign is wrong", -factors * deviation / 2),
            Gives("this is the derivative of logvar itself, without exp", factors * deviation / logvar),
            When(NAN, np.array_equal(np.isnan(z), logvar < 0)),
        ])
    if not deviation.any():
        fail(what="z in training mode", expected="a sample", got="mu", read=read,
             hints=[When("nothing is sampled in training mode", True)])


@task("1.1")
def test_reparameterize_gives_mu_in_evaluation_mode(call):
    """In evaluation mode z is mu."""
    mu, logvar = 20 * random_latents(), random_latents()
    z, again = call(reparameterize, mu=mu, logvar=logvar, seed=fresh(), training=False)
    in_training_mode = call(reparameterize, mu=mu, logvar=logvar, seed=fresh())[0]
    random = (isinstance(z, np.ndarray) and np.shape(z) == np.shape(again) and np.isfinite(z).all()
              and not close(z, again))
    assert_close(
        what="z in evaluation mode, which is mu", got=z, expected=mu, read="the docstring of VAE.reparameterize",
        hints=[
            When("the two modes are swapped: self.training is True in training mode",
                 random and close(in_training_mode, mu)),
            Gives("logvar is returned", logvar),
            Gives(f"mu {CLAMPED}", mu.clip(np.min(z), np.max(z)) if isinstance(z, np.ndarray) else z),
            When("z is sampled in evaluation mode too: check self.training (self.train is a method)", random),
        ])


@task("1.1")
def test_decode(call):
    """z goes through a linear layer and a ReLU, then through one with a sigmoid, whose outputs are the pixels."""
    z, weights = random_latents(), random_weights()
    z[-1] *= 10                                         # z may be any number
    images, one_image, evaluated = call(decode, z=z, weights=weights, seed=fresh())
    hidden, output = weights[3:]
    before = linear(hidden, z.astype(np.float64))
    logits = linear(output, relu(before))
    flat, shape = sigmoid(logits), (B, C, H, W)
    expected = flat.reshape(shape)
    read = "the docstring of VAE.decode and its gap"
    hints = [Gives(f"expected a ReLU in the decoder's hidden layer, but there is {name}",
                   sigmoid(linear(output, function(before))).reshape(shape)) for name, function in OTHER_ACTIVATIONS]
    hints += [Gives(f"expected a sigmoid on the output, but there is {name}", function(logits).reshape(shape))
              for name, function in OTHER_ACTIVATIONS if name != "a sigmoid"]
    hints += [
        Gives("expected a sigmoid on the output, but there is a ReLU", relu(logits).reshape(shape)),
        Gives("there is a ReLU before the sigmoid on the output", sigmoid(relu(logits)).reshape(shape)),
        Gives("there are two sigmoids on the output", sigmoid(expected)),
        Gives("both the ReLU and the sigmoid are missing", linear(output, before).reshape(shape)),
        Gives("the images are transposed: their shape must be B,C,H,W", flat.reshape(B, C, W, H)),
        Gives("the images are transposed: rows have become columns",
              flat.reshape(B, C, W, H).transpose(0, 1, 3, 2)),
        Gives("the images are still flat: reshape them to B,C,H,W", flat),
        When("the pixels are right but in the wrong places: reshape the outputs directly to B,C,H,W",
             same_numbers(images, flat)),
    ]
    assert_close(what="The images from VAE.decode", got=images, expected=expected, hints=hints, read=read)
    assert_close(what="VAE.decode for a batch of one image", got=one_image, expected=expected[:1], read=read)
    assert_close(what="The images from VAE.decode in evaluation mode", got=evaluated, expected=expected, read=read,
                 hints=[When(f"decode {MODE}", True)])


@task("1.1")
def test_gradients_reach_the_layers(call):
    """The gradients of mu and logvar reach the encoder; the gradient of the decoded image reaches all five layers."""
    reached_by = call(layers_reached, images=random_images(), seed=fresh())
    for_decoded = reached_by.pop(2)
    for (function, name), reached in zip(product(("VAE.encode", "VAE.forward"), ("mu", "logvar")), reached_by):
        if not (reached[0] and (reached[1] or reached[2])):
            fail(what=f"The layers that the gradient of {name} from {function} reaches",
                 expected="the encoder's hidden layer and the one after it",
                 got="only one of the two" if any(reached) else "none",
                 hints=[
                     When(f"{name} is detached{ROUNDED}", not any(reached)),
                     When(f"the hidden layer of {name} is detached{ROUNDED}", not reached[0]),
                 ], read=f"the gap in {function}; detach(), no_grad, item() and numpy() stop the gradient")
    if not all(for_decoded):
        fail(what="The layers that the gradient of forward's image reaches, in training mode", expected="all five",
             got=f"{sum(for_decoded)} of them",
             hints=[
                 When(f"the decoded image is detached{ROUNDED}, or all its pixels are 0 or 1", not any(for_decoded)),
                 When(f"the sample is not computed from mu and logvar, or is detached{ROUNDED}",
                      for_decoded == [False] * 3 + [True] * 2),
                 When(f"the sample does not depend on mu or logvar, or one of them is detached{ROUNDED}",
                      sum(for_decoded) == 4 and for_decoded[1] != for_decoded[2]),
             ], read="the docstring of VAE.reparameterize")


@task("1.1")
def test_forward_while_training(call):
    """In training mode forward decodes a sample z of N(mu, sigma²), and returns encode's mu and logvar."""
    z, mu, logvar = run_forward(call)
    read = "the docstrings of VAE.forward and VAE.reparameterize"
    epsilon = (z - mu) / np.exp(logvar / 2)
    if np.abs(epsilon).max() < 0.01:
        fail(what="What VAE.forward decodes in training mode", expected="a sample of N(mu, sigma²)", got="mu",
             hints=[When("forward decodes mu without sampling: call reparameterize", True)], read=read)
    # standard errors: 1 / sqrt(SAMPLES) = 0.007, and 1 / sqrt(2 * SAMPLES) = 0.005
    of_epsilon = "of epsilon = (z - mu) / sigma, with the z that VAE.forward decodes"
    assert_close(what=f"The mean {of_epsilon}", got=epsilon.mean(0), expected=np.zeros(L),
                 rtol=0, atol=0.05, read=read)
    assert_close(what=f"The standard deviation {of_epsilon}", got=epsilon.std(0), expected=np.ones(L),
                 rtol=0, atol=0.035, read=read)


@task("1.1")
def test_forward_in_evaluation_mode(call):
    """In evaluation mode forward decodes mu."""
    z, mu, logvar = run_forward(call, training=False)
    assert_close(
        what="The z that VAE.forward decodes in evaluation mode, which is mu", got=z, expected=mu,
        rtol=1e-3, atol=1e-3, read="the docstrings of VAE.forward and VAE.reparameterize",
        hints=[
            Gives("this is logvar", logvar),
            When("z is sampled in evaluation mode too", is_normal((z - mu) / np.exp(logvar / 2))),
        ])


if __name__ == "__main__":
    run_this_file(__file__)
