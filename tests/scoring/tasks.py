"""The tasks of the course and their points."""
from typing import NamedTuple


class Task(NamedTuple):
    """One row of the table of tasks. Points of a bonus task are added to the sum of the others."""
    number: str
    title: str
    points: int
    graded_by: str
    fill_in: str
    bonus: bool = False


TASKS = (
    Task("1.1", "the VAE", 4, "tests", "lib/model_vae.py"),
    Task("1.2", "the loss of the VAE", 2, "tests", "lib/loss_vae.py"),
    Task("1.3", "the latent space", 2, "tests", "lib/explore_latent_space.py"),
    Task("1.4", "the weight of the KL term", 2, "a person", "submission.pdf"),
    Task("2.1", "q(x3 given x0) and q(xt given x0)", 3, "a person", "submission.pdf"),
    Task("2.2", "diffusion", 3, "tests", "lib/utils.py, lib/train_diffusion.py"),
    Task("3.1", "the networks of the GAN", 0, "tests", "lib/model_gan.py"),
    Task("3.2", "the alternating training of the GAN", 0, "tests", "lib/train_gan.py"),
    Task("style", "code style", 1, "pycodestyle, 120 columns", "every file", bonus=True),
    Task("feedback", "feedback", 1, "all parts filled in", "feedback.md", bonus=True),
)

PUSHES = 3  # this many pushes to main are allowed
