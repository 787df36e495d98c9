"""Task 3.1: the layers of the generator and of the discriminator, in lib/model_gan.py."""
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.support import assert_close, close, fail, fresh, run_this_file, task

B = 6
# Two sets of sizes, neither the default: a number that is in both networks is not made from what is given.
SIZES = {
    "Generator": [{"channels_multiplier": 4, "num_input_channels": 2, "latent_size": 5},
                  {"channels_multiplier": 6, "num_input_channels": 4, "latent_size": 7}],
    "Discriminator": [{"channels_multiplier": 4, "num_input_channels": 2},
                      {"channels_multiplier": 6, "num_input_channels": 4}]}
NAMES = {"ConvTranspose2d": "transposed convolution", "Conv2d": "convolution", "BatchNorm2d": "batch norm"}
DEFAULTS = {"dilation": 1, "groups": 1, "output_padding": 0, "padding_mode": "zeros",
            "eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True}
TENSORS = "weight", "bias", "running_mean", "running_var"
IN_PLAIN_LIST = ("PyTorch does not see layers in a plain list, tuple or dict, and no optimizer would train them: use "
                 "nn.ModuleList")
both = pytest.mark.parametrize("network", SIZES)


# The functions that touch lib

def new_network(network, sizes):
    from lib import model_gan
    return getattr(model_gan, network)(**sizes)


def kind_of(module):
    """The class of PyTorch that a module is of; Module if it is of a student's own."""
    return next(base.__name__ for base in type(module).__mro__ if base.__module__.startswith("torch.nn.modules"))


def is_layer(module):
    """Whether the tests look for it: not for activations, nor for what layers are packed in."""
    return (bool(list(module.parameters(recurse=False)) + list(module.buffers(recurse=False)))
            or bool(re.search("Conv|Norm|Linear|Upsampl|Shuffle|Dropout|Pool", kind_of(module))))


def watch(model, x):
    """A network's output, or the exception it raises, and the layers that ran, in order, with input and output."""
    notes = []

    def before(module, inputs):
        if is_layer(module):
            notes.append({"module": module, "input": inputs[0].detach().clone()})

    def after(module, inputs, output):
        if is_layer(module):
            notes[-1]["output"] = output.detach().clone()  # what comes next may work in place

    handles = [nn.modules.module.register_module_forward_pre_hook(before),
               nn.modules.module.register_module_forward_hook(after)]
    try:
        return model(x), notes
    except Exception as error:
        return error, notes
    finally:
        for handle in handles:
            handle.remove()


def find_layers(network, sizes, x, training):
    """The layers in the order in which they run; from where one raises an exception, in that in which they are kept."""
    model = new_network(network, sizes).train(training)
    output, notes = watch(model, torch.tensor(x))
    ran, kept = [note["module"] for note in notes], [module for module in model.modules() if is_layer(module)]
    idle = [module for module in kept if module not in ran]
    if isinstance(output, Exception) and not ran + idle:
        raise output
    if isinstance(output, Exception):
        ran, idle = ran + idle, []
    return {"layers": [describe_layer(module) for module in ran], "idle": len(idle),
            "unseen": any(module not in kept for module in ran)}


def describe_layer(module):
    """A layer in numbers and words."""
    kind, window = kind_of(module), []
    if "Conv" in kind:
        padding = {"same": tuple(length // 2 for length in module.kernel_size), "valid": 0}.get(
            module.padding, module.padding)
        window = [simple(value) for value in (module.kernel_size, module.stride, padding)]
    channels = [getattr(module, name) for name in ("in_channels", "out_channels", "num_features", "num_channels")
                if hasattr(module, name)]
    settings = [f"{name}={getattr(module, name)}" for name, value in DEFAULTS.items()
                if simple(getattr(module, name, value)) != value]
    others = {name.split(".")[-1] for name in module.state_dict()} - {*TENSORS, "num_batches_tracked"}
    return {"kind": kind if kind != "Module" else type(module).__name__, "channels": channels, "window": window,
            "bias": bool(window) and module.bias is not None, "settings": settings + sorted(others)}


def simple(values):
    """(4, 4) as 4; what differs between height and width as words."""
    if not isinstance(values, (tuple, list)):
        return values
    return values[0] if len(set(values)) == 1 else str(tuple(values))


def count_parameters(network, sizes, x):
    model = new_network(network, sizes)
    output, _ = watch(model, torch.tensor(x))  # before it runs, a lazy layer has no parameters
    number = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if isinstance(output, Exception) and not number:
        raise output
    return number


def run_network(network, sizes, x, seed, training, scale=1.0):
    """Two outputs for one input, with weights that make every activation show, and what each layer does.

    Args:
        scale: of the numbers that the activations get.
    """
    torch.manual_seed(seed)
    model, x = new_network(network, sizes), torch.tensor(x)
    with torch.no_grad():
        model(x)
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                layer.weight.normal_(0, scale * 1.5 * (layer.in_channels * layer.weight[0, 0].numel()) ** -0.5)
            elif isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.running_var):
                    tensor.uniform_(0.5, 1.5)
                layer.weight.mul_(scale)
                for tensor in (layer.bias, layer.running_mean):
                    tensor.normal_(0, 0.3)
        output, notes = watch(model.train(training), x)
        if isinstance(output, Exception):
            raise output
        return {"outputs": [output, model(x)], "layers": [
            [note["input"], note["output"]] + [getattr(note["module"], name) for name in TENSORS
                                               if getattr(note["module"], name, None) is not None] for note in notes]}


# What is expected

def expected_layers(network, channels_multiplier, num_input_channels, latent_size=None):
    """The layers, as describe_layer gives them, and the activation after each."""
    def layer(kind, channels, window, then):
        return {"kind": kind, "channels": channels, "window": window, "bias": False, "settings": [], "then": then}

    width = channels_multiplier
    if network == "Generator":
        channels = [latent_size, 8 * width, 4 * width, 2 * width, width, num_input_channels]
        windows = "410 421 421 421 311"
        kind, hidden, output = "ConvTranspose2d", "a ReLU", "a tanh"
    else:
        channels, windows = [num_input_channels, width, 2 * width, 4 * width, 1], "421 421 421 410"
        kind, hidden, output = "Conv2d", "a leaky ReLU with a slope of 0.2", "a sigmoid"
    layers, last = [], len(channels) - 2
    for i, window in enumerate(windows.split()):
        with_norm = i != last and (network == "Generator" or i != 0)
        then = "no activation" if with_norm else output if i == last else hidden
        layers.append(layer("Conv2d" if i == last else kind, channels[i:i + 2], list(map(int, window)), then))
        if with_norm:
            layers.append(layer("BatchNorm2d", channels[i + 1:i + 2], [], hidden))
    return layers


def in_words(layer):
    """A layer as the docstrings in lib write it, with its channels."""
    window = f"({', '.join(map(str, layer['window']))})" if layer["window"] else ""
    more = ["with a bias"] * layer["bias"] + layer["settings"]
    return " ".join([NAMES.get(layer["kind"], layer["kind"]), " -> ".join(map(str, layer["channels"])), window] +
                    [", ".join(more)]).strip()


def random_inputs(network, sizes):
    rng = np.random.default_rng(fresh())
    if network == "Generator":
        return rng.standard_normal((B, sizes["latent_size"], 1, 1), dtype=np.float32)
    return rng.uniform(-1, 1, (B, sizes["num_input_channels"], 32, 32)).astype(np.float32)


def run_layer(layer, x, tensors, training):
    """What a convolution or a batch norm gives, in float64."""
    if layer["kind"] != "BatchNorm2d":
        function = F.conv2d if layer["kind"] == "Conv2d" else F.conv_transpose2d
        x, weight = (torch.from_numpy(np.asarray(array, dtype=np.float64)) for array in (x, tensors[0]))
        return function(x, weight, stride=layer["window"][1], padding=layer["window"][2]).numpy()
    scale, shift, mean, variance = (np.asarray(tensor, dtype=np.float64)[:, None, None] for tensor in tensors)
    if training:
        mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift


def leaky(slope):
    return lambda x: np.maximum(x, 0) + slope * np.minimum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {
    "no activation": lambda x: x, "a ReLU": leaky(0), "a leaky ReLU with a slope of 0.2": leaky(0.2), "a tanh": np.tanh,
    "a sigmoid": sigmoid, "a softmax, which is 1 for a single number,": np.ones_like,
    "an ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), "a SiLU": lambda x: x * sigmoid(x),
    "a softplus": lambda x: np.log1p(np.exp(x)), "a log-sigmoid": lambda x: np.log(sigmoid(x)),
}
ACTIVATIONS.update({f"{first} before {second}": lambda x, one=ACTIVATIONS[first], two=ACTIVATIONS[second]: two(one(x))
                    for first in list(ACTIVATIONS)[1:5] for second in ("a tanh", "a sigmoid")})


def activation_between(before, after):
    """The name of a known activation, "" for an unknown one."""
    if not isinstance(after, np.ndarray) or before.shape != after.shape:
        return ""
    negative = before < -0.1
    if not negative.any() or not (before > 0.1).any():      # several activations may give the same there
        return ""
    slope = float(np.median(after[negative] / before[negative]))
    if close(after, leaky(slope)(before)) and min(abs(slope - known) for known in (0, 0.2, 1)) > 1e-3:
        return f"a leaky ReLU with a slope of {slope:.3g}"
    with np.errstate(all="ignore"):
        return next((name for name, function in ACTIVATIONS.items() if close(after, function(before))), "")


def known_mistakes(network, wanted, found):
    """Known mistakes in the layers, the likeliest first. wanted and found have the layers for each of the two SIZES."""
    want, have = wanted[0], found[0]
    right, came = ([layer for layer in layers if layer["kind"] in ("Conv2d", "ConvTranspose2d")]
                   for layers in (want, have))
    norms = [layer for layer in have if "Norm" in layer["kind"]]
    kinds, right_kinds = ([layer["kind"] for layer in layers] for layers in (have, want))
    few_norms, few_transposed = (kinds.count(kind) < right_kinds.count(kind) for kind in (
        "BatchNorm2d", "ConvTranspose2d"))
    for kind in kinds:
        if ("Upsampl" in kind or "Shuffle" in kind) and few_transposed:
            yield "upsampling and a convolution stand where a transposed convolution belongs"
        if "Norm" in kind and kind != "BatchNorm2d" and few_norms:
            yield f"{kind} stands where batch norm (BatchNorm2d) belongs"
        if kind not in NAMES:
            yield f"{kind} has no place in this network"
    if len(came) == len(right):
        yield from (f"a {NAMES[layer['kind']]} stands where a {NAMES[correct['kind']]} belongs"
                    for layer, correct in zip(came, right) if layer["kind"] != correct["kind"])
    if any(layer["bias"] for layer in came):
        yield "there are biases, which bias=False leaves out"
    if len(came) != len(right):
        yield ("the last convolution is missing" if list(map(in_words, came)) == list(map(in_words, right))[:-1]
               else "a convolution is missing" if len(came) < len(right) else "there is a convolution too many")
        return
    if not norms:
        yield "there is no batch norm"
    if "BatchNorm2d" in kinds[len(have) - have[::-1].index(came[-1]):]:
        yield "there is a batch norm after the last convolution"
    if network == "Discriminator" and "BatchNorm2d" in kinds[1:2]:
        yield "there is a batch norm after the first convolution"
    if few_norms:
        yield "a batch norm is missing"
    elif len(have) > len(want):
        yield "there is one batch norm too many"
    for i, name in enumerate(("kernel size", "stride", "padding")):
        yield from (f"the {name} is {layer['window'][i]}, where {correct['window'][i]} belongs"
                    for layer, correct in zip(came, right) if layer["window"][i] != correct["window"][i])
    yield from (f"{setting} is set, where this layer keeps its default" for layer in have
                for setting in layer["settings"])
    sizes = [[number for layer in layers if layer["window"] for number in layer["channels"]]
             for layers in wanted + found]
    width = ["channels_multiplier"] * (len(sizes[0]) - 2)
    owners = ["latent_size", *width, "num_input_channels"] if network == "Generator" else [
        "num_input_channels", *width, ""]
    yield from (f"a number is written where {owner} belongs" for owner, one, other, came_one, came_other
                in zip(owners, *sizes) if one != other and came_one == came_other)
    for ratio, word in ((2, "twice"), (0.5, "half")):
        if all(number == ratio * correct for correct, number in zip(sizes[0][1:-1], sizes[2][1:-1])):
            yield f"the network is {word} as wide as it must be"
    if any(before["window"] and layer["kind"] == "BatchNorm2d" and layer["channels"] != before["channels"][1:]
           for layers in found for before, layer in zip(layers, layers[1:])):
        yield "a batch norm has not as many channels as the convolution before it"
    if sizes[0] != sizes[2] and sorted(sizes[0]) == sorted(sizes[2]):
        yield "the channels are in the wrong order, the generator halves them, the discriminator doubles them"
    if sizes[0] != sizes[2]:
        yield "the numbers of channels are not those of the docstring"


def check_layers(call, network, training=True):
    """Compare the layers with those of the docstring; give back how they must be with the first SIZES."""
    found = [call(find_layers, network=network, sizes=sizes, x=random_inputs(network, sizes), training=training)
             for sizes in SIZES[network]]
    wanted = [expected_layers(network, **sizes) for sizes in SIZES[network]]
    read = f"the docstring of {network}"
    if any(result["unseen"] for result in found):
        fail(f"The layers of {network}", "seen by PyTorch", "hidden from it", [(IN_PLAIN_LIST, True)], read)
    mistakes = known_mistakes(network, wanted, [result["layers"] for result in found])
    for sizes, *lists in zip(SIZES[network], wanted, [result["layers"] for result in found]):
        rows = [[in_words(layer) for layer in layers] for layers in lists]
        if rows[0] != rows[1]:
            arguments = ", ".join(f"{name}={number}" for name, number in sizes.items())
            place = next(i for i in range(len(rows[0]) + 1) if rows[0][i:i + 1] != rows[1][i:i + 1])
            shown = [f"{len(row)} layers, number {place + 1} is: {row[place]}" if place < len(row) else
                     f"{len(row)} layers" for row in rows]
            fail(f"The layers of {network}({arguments}), activations not counted", *shown,
                 [(mistake, True) for mistake in mistakes], read)
    if found[0]["idle"]:
        fail(f"The layers of {network} that the data do not go through", "none", found[0]["idle"], read=read)
    return wanted[0]


def run_with_both_signs(call, network, sizes, training, **options):
    """Input and results of run_network, if it can be with numbers of both signs before the activation of the output."""
    for _ in range(20):
        x = random_inputs(network, sizes)
        got = call(run_network, network=network, sizes=sizes, x=x, seed=fresh(), training=training,
                   **options)
        last = got["layers"][-1][1]
        if last.min() < -0.1 and last.max() > 0.1:
            break
    return x, got


def name_activation(call, network, training, place):
    """The name of the activation after a layer, if it is the same for small and for large numbers."""
    names = set()
    for scale in (0.3, 1.0, 6.0):
        _, got = run_with_both_signs(call, network, SIZES[network][0], training, scale=scale)
        after = [note[0] for note in got["layers"][1:]] + [np.reshape(got["outputs"][0], got["layers"][-1][1].shape)]
        names.add(activation_between(got["layers"][place][1], after[place]))
    return names.pop() if len(names) == 1 else ""


def check_output(call, network, training):
    """Compare the output with what the weights give in float64; if it differs, say which activation is the cause."""
    layers, sizes = check_layers(call, network, training), SIZES[network][0]
    x, got = run_with_both_signs(call, network, sizes, training)
    expected = x.astype(np.float64)
    for layer, (_, _, *tensors) in zip(layers, got["layers"]):
        expected = ACTIVATIONS[layer["then"]](run_layer(layer, expected, tensors, training))
    output = got["outputs"][0]
    if network == "Discriminator" and np.size(output) == B:  # B or B,1 does as well
        output = np.reshape(output, expected.shape)
    mode, read = f"of {network} in {'training' if training else 'evaluation'} mode", f"the docstring of {network}"
    after = [note[0] for note in got["layers"][1:]] + [output]
    for place, (layer, (_, before, *_), came) in enumerate(zip(layers, got["layers"], after)):
        belongs, right = layer["then"], ACTIVATIONS[layer["then"]](before.astype(np.float64))
        if close(came, right):
            continue
        name = activation_between(before, came) and name_activation(call, network, training, place)
        where = "on the output" if came is output else f"after the {in_words(layer)}"
        assert_close(came, right, f"What comes {where} {mode}", [
            ("there is dropout or other noise, which has no place in this network",
             np.isfinite(got["outputs"]).all() and not close(*got["outputs"])),
            ("an activation stands before the batch norm, it belongs after it",
             belongs == "no activation" and name not in ("", belongs)),
            (f"there is {name} {where}, where {belongs} belongs", bool(name)),
        ], read=read)
    assert_close(output, expected, f"The output {mode}", rtol=1e-3, atol=1e-4, read=read)


# The tests

@both
@task("3.1")
def test_number_of_parameters(call, network):
    """The convolutions, which have no biases, and the batch norms have so many parameters at multiplier 4."""
    number = {"Generator": 43748, "Discriminator": 3056}[network]
    x = random_inputs(network, dict(latent_size=64, num_input_channels=3))
    got = call(count_parameters, network=network, sizes={"channels_multiplier": 4}, x=x)
    assert_close(got, number, f"The number of parameters of {network}(channels_multiplier=4)", [
        ("no weights are seen that can be trained; " + IN_PLAIN_LIST, got == 0)], rtol=0, atol=0,
                 read=f"the docstring of {network}")


@both
@task("3.1")
def test_layers(call, network):
    """The layers are those of the docstring, with the sizes that are given, none more and none less."""
    check_layers(call, network)


@both
@task("3.1")
def test_output_while_training(call, network):
    """Batch norm takes the statistics of the batch; the activations stand where the docstring has them."""
    check_output(call, network, training=True)


@both
@task("3.1")
def test_output_in_evaluation_mode(call, network):
    """Batch norm takes the running statistics."""
    check_output(call, network, training=False)


if __name__ == "__main__":
    run_this_file(__file__)
