"""Is the training well? What a run of the GAN shows and measures on its way."""
import math
from typing import Any, Dict, List, Sequence

import torch
from torch import Tensor, nn

from lib.checkpoint import save_weights
from lib.distances import image_distances
from lib.draw_gan import save_nearest, save_panels, save_progress_video
from lib.image_folder import Images
from lib.pictures import save_curves, save_image_grid
from lib.run import Run
from lib.sample_gan import sample_noise, generate, ready
from lib.script import RunError

FILES = ("training_pictures.png", f"generated_{6 * '[0-9]'}.png", "generated.mp4", "nearest.png",
         "loss_curves.png", "generator.pt", "generator_average.pt", "discriminator.pt")
MEASURED = 800                                      # pictures a side that a distance is measured on, at most
STUCK = 30                                          # a mean loss above it: the wrong side gets less than 1e-13
LEVELS = ("swd_32", "swd_16")                       # of the distance, by the pixels of a picture's side


def metric_names(args: Any) -> List[List[str]]:
    """Return the names of the metrics of an epoch without distances, and of one with distances. args: the flags."""
    shown = ["generator"] if args.plain else ["generator", "average"]
    names = ["loss_D", "loss_G", "D_x", "D_G_z1", "D_G_z2"]
    return [names, names + [f"{level}_{name}" for name in (*shown, "floor") for level in LEVELS]]


def warning(history: Sequence[Dict[str, float]]) -> str:
    """Return a warning if the last epoch's outputs are stuck at 0 or 1, or if one network has won, judged by the means
    of the last ten epochs; otherwise "".

    Outputs near 0.5 for both are no bad sign: there the game is to end. But who takes generated pictures for real and
    real ones for generated is led by the nose.
    """
    row = history[-1]
    if any(row.get(loss, 0) > STUCK for loss in ("loss_D", "loss_G")) or all(
            min(row[name], 1 - row[name]) < 1e-6 for name in ("D_x", "D_G_z1")):
        return ("the discriminator's outputs are stuck at 0 or 1, where hardly any gradient is left to learn from. The "
                "learning rate is probably too large: start again with a lower --lr")
    last = history[-10:]
    real, generated = (sum(row[name] for row in last) / len(last) for name in ("D_x", "D_G_z1"))
    outputs = f"for ten epochs its mean output has been {real:.2f} for real and {generated:.2f} for generated pictures"
    if len(last) == 10 and real > 0.97 and generated < 0.03:
        return (f"the discriminator has won: {outputs}. It is so sure that the generator learns little from it; take a "
                "lower --lr or a smaller --ndf, and no --plain")
    if len(last) == 10 and generated > real + 0.02:
        return (f"the generator has won: {outputs}. From one that is so easily fooled it learns nothing more; take a "
                "lower --lr or a larger --ndf")
    return ""


def in_words(history: Sequence[Dict[str, float]], num_epochs: int) -> str:
    """The last epoch in a line, and a warning where one begins to be due."""
    row = history[-1]
    text = (f"epoch {row['epoch']:4d}/{num_epochs}   loss D {row['loss_D']:.3f}, G {row['loss_G']:.3f}   "
            f"D(real) {row['D_x']:.2f}, D(generated) {row['D_G_z1']:.2f}")
    for name in ("generator", "average"):
        if f"swd_32_{name}" in row:
            distances = [f"{row[f'{level}_{name}']:.1f} (floor {row[f'{level}_floor']:.1f}) at {level[4:]} px"
                         for level in LEVELS]
            text += f"\n  distance, {name}: {', '.join(distances)}"
    said, before = warning(history), history[:-1]
    if said and not (before and warning(before)):
        text += f"\nwarning: {said}"
    return text


class Watch:
    """Images and distances of a training, always of the same noise.

    Args:
        networks: by name: the generator, and the average of its weights if there is one.
        args: the flags.
        run: in whose folder the pictures go.
    """

    def __init__(self, networks: Dict[str, nn.Module], pictures: Images, args: Any, run: Run) -> None:
        self.networks, self.pictures, self.args, self.run = networks, pictures, args, run
        self.steps = math.ceil(len(pictures) / args.batch_size)             # in an epoch
        self.noise = sample_noise(min(len(pictures), MEASURED), args.latent_size, seed=args.seed)
        chance = torch.Generator().manual_seed(args.seed)

        def some() -> Tensor:
            chosen = torch.randperm(len(pictures), generator=chance)[:MEASURED]
            return pictures.augmented(chosen.to(pictures.start.device))

        torch.manual_seed(args.seed)
        self.real = some()
        self.floor = image_distances(self.real, some())

    def generate(self, noise: Tensor) -> Dict[str, Tensor]:
        return {name: generate(ready(network, self.args.latent_size), noise) for name, network in self.networks.items()}

    def begin(self) -> None:
        """Draw what the networks are to learn, and what they make of the noise before they do."""
        if self.args.images:
            with self.run.writing("training_pictures.png") as path:
                save_image_grid(self.real[:64] / 2 + 0.5, path, "training pictures", normalize=False)
            self.after_step(0)

    def is_shown(self, step: int) -> bool:
        """Often at first, then every so many steps, and at the end."""
        every = 10 if step < 100 else 50 if step < 1000 else self.args.sample_every
        return step % min(every, self.args.sample_every) == 0 or step == self.args.num_epochs * self.steps

    def after_step(self, step: int) -> None:
        """Draw what they make of the noise."""
        if self.args.images and self.is_shown(step):
            moment = f"epoch {math.ceil(step / self.steps)}, step {step}"
            panels = {f"{name}, {moment}": images for name, images in self.generate(self.noise[:64]).items()}
            with self.run.writing(f"generated_{step:06d}.png") as path:
                save_panels(panels, path)

    def distances(self, epoch: int) -> Dict[str, float]:
        """The distances to the data, every so many epochs and at the end."""
        if epoch % self.args.evaluate_every and epoch != self.args.num_epochs:
            return {}
        found = {name: image_distances(images, self.real) for name, images in self.generate(self.noise).items()}
        found["floor"] = self.floor
        return {f"{level}_{name}": value for name, values in found.items() for level, value in zip(LEVELS, values)}

    def end(self, history: List[Dict[str, float]], discriminator: nn.Module) -> None:
        """Leave the weights, the curves, the video, and the nearest training pictures."""
        for name, network in self.networks.items():
            with self.run.writing("generator.pt" if name == "generator" else f"generator_{name}.pt") as path:
                save_weights(ready(network, self.args.latent_size), path)
        with self.run.writing("discriminator.pt") as path:
            save_weights(discriminator, path)
        if self.args.images:
            self.draw_results(history)

    def draw_results(self, history: List[Dict[str, float]]) -> None:
        """Draw the curves and the nearest training pictures, and make the video."""
        panels = {"loss": ["loss_D", "loss_G"], "mean output of the discriminator": ["D_x", "D_G_z1"]}
        labels = {"loss_D": "discriminator", "loss_G": "generator", "D_x": "real", "D_G_z1": "generated"}
        for level in LEVELS:
            lines = {f"{level}_{name}": name for name in (*self.networks, "floor")}
            panels[f"distance to the data at {level[4:]} px"] = list(lines)
            labels.update(lines)
        with self.run.writing("loss_curves.png") as path:
            save_curves(history, panels, path, labels)
        with self.run.writing("nearest.png") as path:
            save_nearest(list(self.generate(self.noise[:24]).values())[-1], self.pictures, path)
        if self.args.video:
            self.make_video(len(history))

    def make_video(self, epochs: int) -> None:
        """Make a video of the snapshots, if the training has left any."""
        steps = (step for step in range(epochs * self.steps + 1) if self.is_shown(step))
        snapshots = [self.run.folder / f"generated_{step:06d}.png" for step in steps]
        snapshots = [path for path in snapshots if path.exists()]
        try:
            if snapshots:
                with self.run.writing("generated.mp4") as path:
                    save_progress_video(snapshots, path)
        except RunError as error:
            raise RunError(f"{error}. The training is finished and kept: --resume tries again, with --no_video it "
                           "makes no video, with --no_images no figures either")
