"""Measure how often the tests name a wrong mistake for code that they do not list: python -m course.bank.unlisted

A family of mistakes replaces a piece of the reference in one gap. The replacement may contain # for a random number and
[a|b|c] for one of several texts, so a family makes many mistakes. The last entry of a family is a pattern of the names
that are right ("" if none is): any other name that a test gives is wrong.
"""
import argparse
import importlib
import itertools
import random
import re
import sys
import textwrap
import types
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
import torch

from course import gaps
from course.bank.trial import ROOT, fill_gaps, modules_with_tests
from tests import support
from tests.scoring.report import MISTAKE

FILES: Dict[str, Tuple[List[str], List[str]]] = {}  # for each task, the modules with its gaps and their tests
for _path, (_task, _test) in modules_with_tests().items():
    for _names, _file in zip(FILES.setdefault(_task, ([], [])), (_path, _test)):
        _names.append(Path(_file).stem)
NEUTRAL = r"see what the (other tests|tests of add_noise) say|, or all its pixels are 0 or 1"     # names no cause
NEAR = (0, 0.25, 1 / 3, 0.5, 1, 2, 3, 4, 5)         # these numbers make a known mistake, or none at all
FUNCTION = "[torch.sin|torch.cos|torch.atan|torch.erf|torch.sinh|torch.asinh|torch.square]"
LOSS = "[F.mse_loss|F.smooth_l1_loss|F.huber_loss|F.soft_margin_loss|F.poisson_nll_loss|F.kl_div]"
CROSS_ENTROPY = 'F.binary_cross_entropy(x_reconstructed, x, reduction="sum")'
GAN_LOSS = "mean squared error|second sigmoid|logarithm is missing|only the gradients of the (real|generated) images"
NO_GRADIENT = "no gradient reaches|is detached|does not depend on"

FAMILIES = {
    "VAE.encode": [
        ("torch.relu", FUNCTION, ""), ("torch.relu(", "F.leaky_relu(negative_slope=#, input=", ""),
        ("x.flatten(start_dim=1)", "# * x.flatten(start_dim=1)", ""),
        ("x.flatten(start_dim=1)", "x.flatten(start_dim=1) + #", ""),
        ("x.flatten(start_dim=1)", "x.flatten(start_dim=1).[flip(1)|flip(0)|roll(1, 1)|roll(3, 1)|log()|sqrt()]", ""),
        ("self.encoder_logvar(hidden)", "self.encoder_logvar(hidden) [*|+|-] #", ""),
        ("self.encoder_logvar(hidden)", "self.encoder_logvar([hidden + #|hidden * #|hidden ** #])", ""),
        ("self.encoder_mu(hidden)", FUNCTION + "(self.encoder_mu(hidden))", ""),
        ("self.encoder_mu(hidden)", "self.encoder_mu(hidden).[log()|sqrt()|acos()|log1p()]", ""),
        ("torch.relu(", "torch.relu(torch.randn(1) * ", "dropout or random noise"),
    ],
    "VAE.reparameterize": [
        ("torch.exp(logvar / 2)", "torch.exp(logvar / 2) [*|+|**] #", ""),
        ("torch.exp(logvar / 2)", "torch.exp(# * logvar)", ""),
        ("torch.exp(logvar / 2)", "torch.exp(logvar / 2 + #)", ""),
        ("torch.exp(logvar / 2)", "[F.softplus|torch.sigmoid|torch.cosh|torch.exp2|torch.atan](logvar)", ""),
        ("torch.exp(logvar / 2)", "torch.exp([mu / 2|(mu + logvar) / 4|mu * logvar / 8])", NO_GRADIENT),
        ("mu + sigma", "# * mu + sigma", ""), ("mu + sigma", "mu + # + sigma", ""),
        ("torch.randn_like(sigma)", "(# * torch.randn_like(sigma))", ""),
        ("torch.randn_like(sigma)", "(torch.randn_like(sigma) [+|-] #)", ""),
        ("torch.randn_like(sigma)", "(# * torch.rand_like(sigma))", ""),
        ("torch.randn_like(sigma)", FUNCTION + "(torch.randn_like(sigma))", ""),
        ("torch.randn_like(sigma)", "[torch.randn_like(sigma).clamp(-# / 4, # / 4)|torch.rand_like(sigma).log()]", ""),
        ("torch.randn_like(sigma)", "[torch.full_like(sigma, #)|torch.ones_like(sigma)]",
         "is epsilon drawn|or nothing is drawn"),
        ("return mu\n", "return # * mu\n", ""), ("return mu\n", "return mu + #\n", ""),
        ("return mu\n", "return mu [+|-] torch.exp(logvar / 2)\n", ""),
    ],
    "VAE.decode": [
        ("torch.relu", FUNCTION, ""), ("torch.sigmoid", FUNCTION, ""),
        ("torch.sigmoid(", "torch.sigmoid(# * ", ""), ("torch.sigmoid(", "torch.sigmoid(# + ", ""),
        ("self.decoder_hidden(z)", "self.decoder_hidden([# * z|z + #|z.abs()|z ** 2])", ""),
        ("pixels.view", "pixels.[flip(1)|roll(1, 1)].view", "pixels are right but in the wrong places"),
        ("pixels.view", "([pixels ** #|pixels * #|1 - pixels|pixels + #]).view", ""),
    ],
    "VAE.forward": [
        ("z = ", "mu = [mu * #|mu + #]\nz = ", ""), ("z = ", "logvar = [logvar * #|logvar + #]\nz = ", ""),
        ("return self.decode(z)", "return self.decode([z * #|z + #|-z])", ""),
        ("z), mu, logvar", "z), [mu * #|mu + #], logvar", ""),
        ("z), mu, logvar", "z), mu, [logvar * #|logvar + #]", ""),
    ],
    "VAE.__init__": [
        ("in_size, hidden_size", "[in_channels|in_height|in_width|in_height * in_channels], hidden_size", ""),
        ("hidden_size, in_size", "hidden_size, [in_channels|in_height|2 * in_size|in_size + 1]", ""),
        ("self.decoder_hidden = nn.Linear(latent_size", "self.decoder_hidden = nn.Linear([2 * latent_size|hidden_size]",
         ""),
    ],
    "VAELoss.forward": [
        (CROSS_ENTROPY, "-(x * torch.log(x_reconstructed + # / 1000) + (1 - x) * torch.log(1 - x_reconstructed + "
         "# / 1000)).sum()", ""),
        (CROSS_ENTROPY, LOSS + '(x_reconstructed, x, reduction="sum")',
         "squared error|half of the cross entropy is missing|divides by 0"),
        (CROSS_ENTROPY, "# * " + CROSS_ENTROPY, ""), (CROSS_ENTROPY, "# + " + CROSS_ENTROPY, ""),
        ("reduction=\"sum\")", "reduction=\"sum\") ** #", ""),
        ("(x_reconstructed, x,", "(x_reconstructed ** #, x,", ""),
        ("(x_reconstructed, x,", "([x_reconstructed.sqrt()|x_reconstructed.sin()|1 - x_reconstructed], x,", ""),
        ("reconstruction + ", "# * reconstruction + ", ""),
        ("-0.5", "-#", ""), ("1 + logvar", "# + logvar", ""), ("1 + logvar", "1 [+|-] # * logvar", ""),
        ("1 + logvar", "1 + logvar [+|-] #", ""), ("mu ** 2", "# * mu ** 2", ""), ("mu ** 2", "mu.abs() ** #", ""),
        ("mu ** 2", "[mu.sin()|mu.exp()|mu.cosh()|(mu - #) ** 2|mu * logvar]", ""),
        ("torch.exp(logvar)", "torch.exp(# * logvar)", ""), ("torch.exp(logvar)", "# * torch.exp(logvar)", ""),
        ("torch.exp(logvar)", "torch.[sigmoid|cosh|exp2|expm1|square](logvar)", ""),
        ("kl = -0.5 * torch.sum(1 + logvar - mu ** 2 - torch.exp(logvar))",
         "kl = F.[kl_div|mse_loss|l1_loss|smooth_l1_loss](mu, logvar, reduction='sum')", ""),
        ("logvar - mu", "[logvar / 2|logvar * #] - mu", ""),
        ("self.kl_loss_weight", "[#|self.kl_loss_weight ** #]", ""),
        ("1 + logvar - mu ** 2 - torch.exp(logvar)", "1 - logvar / 2 - mu ** 2 - torch.exp(logvar)", ""),
        ("1 + logvar - mu ** 2 - torch.exp(logvar)", "1 + logvar / 2 - mu ** 2 - torch.exp(logvar / 2)", ""),
        ("return reconstruction", "return # * (mu ** 2).sum() + reconstruction", ""),
    ],
    "get_mu_logvar": [
        ("images.to(device)", "[images * #|images + #|images.flip(3)|images.round()|images ** #]", ""),
        ("torch.cat(all_mu)", "torch.cat(all_mu) [*|+|-] #", ""),
        ("torch.cat(all_logvar)", "torch.cat(all_logvar) [*|+|-] #", ""),
        ("torch.cat(all_mu)", FUNCTION + "(torch.cat(all_mu))", ""),
        ("torch.cat(all_mu)", "torch.cat(all_mu) + torch.[randn|rand](1) * #", ""),
        ("torch.cat(all_mu)", "torch.cat(all_mu) + # * torch.exp(torch.cat(all_logvar) / 2)", ""),
    ],
    "sample_on_grid": [
        ("model.decode(z)", "model.decode([z * #|z + #|z ** 2|z.sin()])", ""),
        ("torch.linspace(latent0_min, latent0_max", "torch.linspace(latent0_min [*|+|-] #, latent0_max", ""),
        ("torch.linspace(latent1_min, latent1_max", "torch.linspace(latent1_min, latent1_max [*|+|-] #", ""),
        ("(grid_size - 1)", "(grid_size - #)", ""), ("/ (grid_size - 1)", "/ (grid_size - 1) [*|+|**] #", ""),
        ("latent0_max - latent0_min,", "latent0_max [+|*] latent0_min,", ""),
        (".cpu().numpy()", ".cpu().numpy() [*|+|**] #", ""),
    ],
    "add_noise": [
        ("torch.sqrt(baralpha) *", "baralpha ** # *", ""), ("torch.sqrt(baralpha) *", "# * torch.sqrt(baralpha) *", ""),
        ("torch.sqrt(1 - baralpha) *", "(1 - baralpha) ** # *", ""),
        ("torch.sqrt(1 - baralpha) *", "# * torch.sqrt(1 - baralpha) *", ""),
        ("torch.sqrt(1 - baralpha)", "[torch.sin|torch.exp|torch.square|torch.tanh](1 - baralpha)",
         r"square of 1 - baralpha_t"),
        ("torch.randn_like(batch)", "# * torch.randn_like(batch)", ""),
        ("torch.randn_like(batch)", "torch.randn_like(batch) [+|-] #", ""),
        ("torch.randn_like(batch)", FUNCTION + "(torch.randn_like(batch))", ""),
        ("torch.randn_like(batch)", "# * torch.rand_like(batch)", ""),
        ("baralphas[t]", "torch.cumprod(1 - baralphas, 0)[t]", ""), ("baralphas[t]", "baralphas[t] ** #", ""),
        ("baralphas[t]", "[1 - baralphas|baralphas.cumsum(0) / 9|baralphas.sqrt().cumprod(0)|baralphas.flip(0)][t]",
         "the two factors are swapped.$|timesteps run backwards|get different timesteps"),
        (", eps\n", ", eps [*|+] #\n", ""),
        (", eps\n", ", [eps ** 2|eps.abs()|baralpha|eps.sin()]\n",
         "the returned eps has one number for both|the returned eps is a single number"),
        ("return ", "return # [*|+] ", ""),
    ],
    "train": [
        ("F.mse_loss(", "[F.smooth_l1_loss|F.huber_loss|F.soft_margin_loss|F.poisson_nll_loss|F.kl_div](",
         "Huber"),
        ("F.mse_loss(", "# * F.mse_loss(", ""),
        ("t), eps)", "t), eps) ** #", ""),
        ("t), eps)", "t), eps [*|+] #)", ""), ("t), eps)", "t), [eps.abs()|eps.sin()|eps ** 2|eps.flip(0)])", ""),
        ("t), eps)", "t) * #, eps)", ""),
        (", t), eps)", " [*|+] #, t), eps)", ""),
        ("t), eps)", "t).sub(eps).[abs() ** 3|cosh()|exp()], 0 * eps)", ""),
        ("add_noise(batch, t", "add_noise([batch * #|batch + #|batch.flip(0)], t", "in another order"),
        (", t), eps)", ", [t * #|t + #]), eps)", ""),
        ("optimizer.step()",
         "for p in model.parameters():\n    p.grad.[add_(#)|sin_()|abs_()|tanh_()]\noptimizer.step()",
         ""),
    ],
    "Generator.__init__": [
        ("nn.ReLU(),\n    nn.ConvTranspose2d(8 * m, 4",
         "nn.[SELU|Mish|GELU|Hardswish|Softsign|Hardtanh|ReLU6|Tanhshrink]"
         "(),\n    nn.ConvTranspose2d(8 * m, 4", "there is a ReLU6"),
        ("nn.Tanh()", "nn.[Softsign|Hardtanh|SELU|Mish|Tanhshrink|Softshrink|Hardsigmoid]()", ""),
        ("4 * m, 2 * m, 4, 2, 1", "4 * m, 2 * m, 4, 2, 1, dilation=[2|3]", "dilation"),
        ("nn.BatchNorm2d(4 * m)", "nn.BatchNorm2d(4 * m, momentum=[0.05|0.2], eps=#)", "eps=|momentum="),
        ("nn.BatchNorm2d(4 * m),", "nn.BatchNorm2d(4 * m), nn.[Softsign|Mish|GELU](),", ""),
        ("nn.BatchNorm2d(4 * m),", "nn.[Softsign|Mish|GELU](), nn.BatchNorm2d(4 * m),", ""),
    ],
    "Discriminator.__init__": [
        ("nn.LeakyReLU(0.2),\n    nn.Conv2d(m, 2",
         "nn.[SELU|Mish|GELU|Hardswish|Softsign|Hardtanh|ReLU6|Tanhshrink](),\n"
         "    nn.Conv2d(m, 2", "there is a ReLU6"),
        ("nn.Sigmoid()", "nn.[Softsign|Hardtanh|SELU|Mish|Tanhshrink|Softshrink|Hardsigmoid|ReLU|Softplus]()",
         "but there is a (ReLU|softplus)"),
        ("nn.BatchNorm2d(4 * m)", "nn.BatchNorm2d(4 * m, momentum=[0.05|0.2], eps=#)", "eps=|momentum="),
    ],
    "update_discriminator": [
        ("F.binary_cross_entropy(", "# * F.binary_cross_entropy(", "gradients are scaled"),
        ("F.binary_cross_entropy(", LOSS + "(", GAN_LOSS),
        ("F.binary_cross_entropy(output, label)", "[output.mean()|-output.log().sum() / #|(output * #).mean()|"
         "output.sin().mean()|output.var()]", "this is the mean of the outputs"),
        ("F.binary_cross_entropy(output, label)", "F.binary_cross_entropy_with_logits(output, # / 10 * label)",
         ""),
        ("F.binary_cross_entropy(output, label)", "F.binary_cross_entropy(output ** #, label)", "gradients are scaled"),
        ("output.mean().item()", "[output.median()|output.std()|output.prod()|output.min()|# * output.mean()].item()",
         "this is a single output"),
        ("errD_real.backward()", "errD_real.backward()\nerrD_real = [errD_real * #|errD_real + #|errD_real.exp()]", ""),
    ],
    "update_discriminator#2": [
        ("F.binary_cross_entropy(", "# * F.binary_cross_entropy(", "gradients are scaled"),
        ("F.binary_cross_entropy(", LOSS + "(", GAN_LOSS),
        ("F.binary_cross_entropy(output, torch.zeros_like(label))", "[output.mean()|-output.log().mean()|output.var()|"
         "F.softplus(output * #).mean()|(output ** 2).mean() * #]",
         "have the label 1|logarithm is missing|mean of the outputs"),
        ("fake_images.detach()", "[fake_images.detach() * #|fake_images.detach().flip(0)|fake_images.detach() + #]",
         "does not get the generated images as they are"),
        ("output.mean().item()", "[output.median()|output.std()|output.prod()|output.min()|# * output.mean()].item()",
         "this is a single output"),
        ("generator(noise)", "generator([noise * #|noise + #|noise.flip(0)])",
         "noise is changed, or new noise|generated from different noise"),
    ],
    "update_generator": [
        ("F.binary_cross_entropy(", "# * F.binary_cross_entropy(", "gradients are scaled"),
        ("F.binary_cross_entropy(", LOSS + "(", GAN_LOSS),
        ("F.binary_cross_entropy(output, label)", "[output.mean()|-output.sqrt().mean()|output.var()|"
         "F.softplus(-output * #).mean()|(1 / output).mean()]", "this is the mean of the outputs"),
        ("output.mean().item()", "[output.median()|output.std()|output.prod()|output.min()|# * output.mean()].item()",
         "this is a single output"),
        ("output.mean().item()", "output.mean()", "D_G_z2 is still a tensor"),
        ("errG.backward()", "errG.backward()\nerrG = [errG * #|errG + #|errG.exp()]", ""),
    ],
}

# The first optimizer changes settings of the process: a test would notice, forget lib and import the reference.
torch.optim.SGD([torch.zeros(1)], lr=1.0)


def random_number(rng: random.Random) -> str:
    """Return a random number that makes an unlisted mistake."""
    while True:
        number = round(rng.uniform(0.1, 4.5), 3)
        if all(abs(number - near) > 0.03 for near in NEAR):
            return str(number)


def fill(text: str, rng: random.Random) -> str:
    """Replace each [a|b] by one of its texts, then each # by a number."""
    text = re.sub(r"\[([^\[\]]*\|[^\[\]]*)\]", lambda match: rng.choice(match[1].split("|")), text)
    return re.sub("#", lambda _: random_number(rng), text)


def reference() -> Dict[str, gaps.Gap]:
    """Return the gaps of all tasks by name."""
    pieces = [piece for names, _ in FILES.values() for name in names
              for piece in gaps.split(f"lib/{name}.py", gaps.read_source(ROOT, f"lib/{name}.py"))]
    return {piece.name: piece for piece in pieces if isinstance(piece, gaps.Gap)}


def load(task: str, gap: str, code: str) -> None:
    """Import the modules of a task with code in one gap."""
    import lib
    for name in FILES[task][0]:
        path = f"lib/{name}.py"
        module = types.ModuleType(f"lib.{name}")
        sys.modules[module.__name__] = module
        setattr(lib, name, module)
        exec(compile(fill_gaps(path, {gap: code}), str(ROOT / path), "exec"), vars(module))


def unload(task: str) -> None:
    """Forget the modules of a task."""
    for name in FILES[task][0]:
        sys.modules.pop(f"lib.{name}", None)


def tests_of(task: str) -> Iterator[Tuple[str, Callable, Dict[str, Any]]]:
    """Yield the name of each test of a task, the test, and the values of its parameters."""
    for name in FILES[task][1]:
        for test in list(vars(importlib.import_module(f"tests.{name}")).values()):
            if getattr(test, "__name__", "").startswith("test_"):
                marks = [mark for mark in test.pytestmark if mark.name == "parametrize"]
                for values in itertools.product(*(mark.args[1] for mark in marks)):
                    yield (f"{name}.{test.__name__}{list(values)}", test,
                           dict(zip([mark.args[0] for mark in marks], values)))


def messages(task: str, gap: str, code: str, seed: int) -> List[str]:
    """Return the messages of a task's tests about code in a gap."""
    said = []
    try:
        load(task, gap, code)
        for name, test, values in tests_of(task):
            support.seeds.seed(f"{seed} {name}")
            try:
                test(call=support.call, **values)
            except pytest.fail.Exception as failure:
                said.append(failure.msg or "")
    finally:
        unload(task)
    return said


def names(said: List[str]) -> List[str]:
    """Return the mistakes that messages name."""
    return [line[len(MISTAKE):] for message in said for line in message.splitlines() if line.startswith(MISTAKE)]


def mistakes(number: int, seed: int) -> Iterator[Tuple[str, str, str, str]]:
    """Yield random mistakes from all families in turn: task, gap, code, and a pattern of the right names."""
    rng, known = random.Random(seed), reference()
    families = [(gap, *family) for gap, some in FAMILIES.items() for family in some]
    rng.shuffle(families)
    for gap, old, new, right in itertools.islice(itertools.cycle(families), number):
        code = "\n".join(textwrap.dedent(known[gap].region).strip().split("\n")[1:-1]) + "\n"
        if old not in code:
            raise ValueError(f"the gap {gap} does not contain {old}")
        yield known[gap].task, gap, code.replace(old, fill(new, rng), 1), right


def measure(number: int, seed: int) -> Tuple[int, int, List[str]]:
    """Return how many random mistakes are caught, how many get a name, and the wrong names, each with its code."""
    caught, named, wrong = 0, 0, []
    for i, (task, gap, code, right) in enumerate(mistakes(number, seed)):
        said = messages(task, gap, code, seed + i)
        given = [name for name in names(said) if not re.search(NEUTRAL, name)]
        caught, named = caught + bool(said), named + bool(given)
        wrong += [f"{name}\n{textwrap.indent(code, '    ')}" for name in sorted(set(given))
                  if not right or not re.search(right, name)]
    return caught, named, wrong


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(prog="python -m course.bank.unlisted", description=str(__doc__).split(":")[0])
    parser.add_argument("--number", type=int, default=1200, help="number of random mistakes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of mistakes and inputs (default: %(default)s)")
    args = parser.parse_args()
    caught, named, wrong = measure(args.number, args.seed)
    print(*wrong, sep="\n")
    print(f"{args.number} unlisted mistakes: {caught} caught, {named} named, {len(wrong)} named wrongly")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
