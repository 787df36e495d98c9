"""Monitoring a GAN training: the images a run saves and the metrics it records."""
import math
from typing import Any, Dict, List, Sequence

import torch
from torch import Tensor, nn

from lib.checkpoint import save_weights
from lib.distances import image_distances
from lib.draw_gan import TANH, save_nearest, save_panels, save_progress_video
from lib.image_folder import Images
from lib.pictures import save_curves, save_image_grid
from lib.run import Run
from lib.sample_gan import generate, prepare_generator, sample_noise
from lib.script import RunError

FILES = ("training_images.png", f"generated_{6 * '[0-9]'}.png", "generated.mp4", "nearest.png",
         "loss_curves.png", "generator.pt", "generator_ema.pt", "discriminator.pt")
MEASURED = 800                                      # images per side of a distance, at most
STUCK = 30                                          # a mean loss above it: the true class gets less than 1e-13
LEVELS = ("swd_32", "swd_16")                       # of the distance, named after the side of an image in pixels


def metric_names(args: Any) -> List[List[str]]:
    """Return the names of the metrics of an epoch without distances, and of one with distances. args: the flags."""
    generators = ["generator"] if args.plain else ["generator", "ema"]
    names = ["loss_D", "loss_G", "D_x", "D_G_z1", "D_G_z2"]
    return [names, names + [f"{level}_{name}" for name in (*generators, "floor") for level in LEVELS]]


def warning(history: Sequence[Dict[str, float]]) -> str:
    """Return a warning if the last epoch's outputs are stuck at 0 or 1, or if one network has won, judged by the mean
    outputs of the last ten epochs; otherwise "".

    Outputs near 0.5 for both are fine: that is the game's equilibrium. But a discriminator that rates generated images
    as more real than real ones is being fooled completely.
    """
    row = history[-1]
    if any(row.get(loss, 0) > STUCK for loss in ("loss_D", "loss_G")) or all(
            min(row[name], 1 - row[name]) < 1e-6 for name in ("D_x", "D_G_z1")):
        return ("the discriminator's outputs are stuck at 0 or 1, where almost no gradient is left to learn from. The "
                "learning rate is probably too large: start again with a lower --lr")
    last = history[-10:]
    real, generated = (sum(row[name] for row in last) / len(last) for name in ("D_x", "D_G_z1"))
    outputs = f"for ten epochs its mean output has been {real:.2f} for real and {generated:.2f} for generated images"
    if len(last) == 10 and real > 0.97 and generated < 0.03:
        return (f"the discriminator has won: {outputs}. It is so sure that the generator learns little from it; try a "
                "lower --lr or a smaller --ndf, and do not use --plain")
    if len(last) == 10 and generated > real + 0.02:
        return (f"the generator has won: {outputs}. The generator learns nothing more from a discriminator that is so "
                "easily fooled; try a lower --lr or a larger --ndf")
    return ""


def summary(history: Sequence[Dict[str, float]], num_epochs: int) -> str:
    """Return one line about the last epoch, plus a warning when one first becomes necessary."""
    row = history[-1]
    text = (f"epoch {row['epoch']:4d}/{num_epochs}   loss D {row['loss_D']:.3f}, G {row['loss_G']:.3f}   "
            f"D(real) {row['D_x']:.2f}, D(generated) {row['D_G_z1']:.2f}")
    for name in ("generator", "ema"):
        if f"swd_32_{name}" in row:
            distances = ", ".join(f"{row[f'{level}_{name}']:.1f} at {level[4:]} px" for level in LEVELS)
            floors = ", ".join(f"{row[f'{level}_floor']:.1f}" for level in LEVELS)
            text += f"\n  distance, {label_of(name)}: {distances} (noise floor {floors})"
    now, before = warning(history), history[:-1]
    if now and not (before and warning(before)):
        text += f"\nwarning: {now}"
    return text


def label_of(name: str) -> str:
    """Return how figures and lines call a generator, or the noise floor."""
    return {"ema": "EMA", "floor": "noise floor"}.get(name, name)


class Monitor:
    """Save images during a training, always generated from the same noise, and measure distances to the data.

    Args:
        generators: the generator and, if there is one, its EMA, by name.
        args: the flags.
        run: the files go to its folder.
    """

    def __init__(self, generators: Dict[str, nn.Module], images: Images, args: Any, run: Run) -> None:
        self.generators, self.images, self.args, self.run = generators, images, args, run
        self.steps_per_epoch = math.ceil(len(images) / args.batch_size)
        self.noise = sample_noise(min(len(images), MEASURED), args.latent_size, seed=args.seed)
        chance = torch.Generator().manual_seed(args.seed)

        def sample_images() -> Tensor:
            chosen = torch.randperm(len(images), generator=chance)[:MEASURED]
            return images.sample_crops(chosen.to(images.start.device))

        torch.manual_seed(args.seed)
        self.real = sample_images()
        self.floor = image_distances(self.real, sample_images())

    def generate(self, noise: Tensor) -> Dict[str, Tensor]:
        """Return images generated from B,L,1,1 noise by each generator."""
        return {name: generate(prepare_generator(network, self.args.latent_size), noise)
                for name, network in self.generators.items()}

    def begin(self) -> None:
        """Save training images, and images generated before the first step."""
        if not self.args.no_images:
            with self.run.writing("training_images.png") as path:
                save_image_grid(self.real, path, "training images", value_range=TANH)
            self.after_step(0)

    def is_shown(self, step: int) -> bool:
        """Return whether to save images after a step: often at first, then every sample_every steps, and at the end."""
        every = next((every for until, every in ((100, 10), (1000, 50)) if step < until), self.args.sample_every)
        return step % min(every, self.args.sample_every) == 0 or step == self.args.num_epochs * self.steps_per_epoch

    def after_step(self, step: int) -> None:
        """Save generated images, if it is time."""
        if not self.args.no_images and self.is_shown(step):
            moment = f"epoch {math.ceil(step / self.steps_per_epoch)}, step {step}"
            panels = {f"{label_of(name)}, {moment}": images for name, images in self.generate(self.noise[:64]).items()}
            with self.run.writing(f"generated_{step:06d}.png") as path:
                save_panels(panels, path)

    def evaluate(self, epoch: int) -> Dict[str, float]:
        """Measure the distances to the data every evaluate_every epochs and after the last one; otherwise return {}."""
        if epoch % self.args.evaluate_every and epoch != self.args.num_epochs:
            return {}
        found = {name: image_distances(images, self.real) for name, images in self.generate(self.noise).items()}
        found["floor"] = self.floor
        return {f"{level}_{name}": value for name, values in found.items() for level, value in zip(LEVELS, values)}

    def end(self, discriminator: nn.Module) -> None:
        """Save weights, figures and video of a finished training."""
        for name, network in self.generators.items():
            with self.run.writing("generator.pt" if name == "generator" else f"generator_{name}.pt") as path:
                save_weights(prepare_generator(network, self.args.latent_size), path)
        with self.run.writing("discriminator.pt") as path:
            save_weights(discriminator, path)
        if not self.args.no_images:
            self.save_figures()
            if not self.args.no_video:
                self.save_video()

    def save_figures(self) -> None:
        """Save the curves, and generated images next to their nearest training images."""
        panels = {"loss": ["loss_D", "loss_G"], "mean output of the discriminator": ["D_x", "D_G_z1"]}
        labels = {"loss_D": "discriminator", "loss_G": "generator", "D_x": "real", "D_G_z1": "generated"}
        for level in LEVELS:
            lines = {f"{level}_{name}": label_of(name) for name in (*self.generators, "floor")}
            panels[f"distance to the data at {level[4:]} px"] = list(lines)
            labels.update(lines)
        with self.run.writing("loss_curves.png") as path:
            save_curves(self.run.history, panels, path, labels)
        with self.run.writing("nearest.png") as path:
            save_nearest(list(self.generate(self.noise[:24]).values())[-1], self.images, path)

    def save_video(self) -> None:
        """Save a video of the snapshots, if there are any."""
        steps = (step for step in range(self.args.num_epochs * self.steps_per_epoch + 1) if self.is_shown(step))
        snapshots = [self.run.folder / f"generated_{step:06d}.png" for step in steps]
        snapshots = [path for path in snapshots if path.exists()]
        try:
            if snapshots:
                with self.run.writing("generated.mp4") as path:
                    save_progress_video(snapshots, path)
        except RunError as error:
            raise RunError(f"{error}. Training has finished and its results are saved: --resume tries to make the "
                           "video again; --resume --no_video skips it, and --resume --no_images skips the figures too"
                           ) from error
