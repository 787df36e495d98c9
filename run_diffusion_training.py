"""Train a diffusion model on a density in the plane.

    python run_diffusion_training.py                        # moons; results in results_diffusion/, two videos here
    python run_diffusion_training.py --dataset swiss_roll --output_dir results_swiss_roll
    python run_diffusion_training.py --dataset cat.png --output_dir results_cat     # dark pixels get a high density
    python run_diffusion_training.py --resume               # continue a stopped run after its last finished epoch
"""
import sys

from lib.script import Parser, add_run_flags, file_name, integer, number, run_script, say


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--dataset", type=file_name, default="moons", metavar="NAME",
                        help="moons, swiss_roll, circles, gaussians, checkerboard, pinwheel, spirals, or the path of "
                             "an image file (default: %(default)s)")
    parser.add_argument("--n_samples", type=integer(2, 10 ** 7), default=100_000,
                        help="number of training points (default: %(default)s)")
    parser.add_argument("--epochs", "--num_epochs", type=integer(1), default=40, metavar="N",
                        help="number of epochs, over which the learning rate falls to 0 (default: %(default)s)")
    parser.add_argument("--diffusion_steps", type=integer(1, 10 ** 4), default=100,
                        help="number of timesteps (default: %(default)s)")
    parser.add_argument("--schedule", choices=("quadratic_cosine", "cosine", "linear"), default="quadratic_cosine",
                        help="noise schedule (default: %(default)s)")
    parser.add_argument("--batch_size", type=integer(1), default=2048, help="points per step (default: %(default)s)")
    parser.add_argument("--learning_rate", "--lr", type=number(0, above=True), default=1e-2,
                        help="peak learning rate of Adam (default: %(default)s)")
    parser.add_argument("--n_blocks", type=integer(1, 1000), default=8, help="hidden layers (default: %(default)s)")
    parser.add_argument("--n_units", type=integer(1, 10 ** 5), default=64,
                        help="number of units in each hidden layer (default: %(default)s)")
    parser.add_argument("--time_embedding", choices=("sinusoidal", "index"), default="sinusoidal",
                        help="how the network gets the timestep; index also starts from smaller weights and, with 200 "
                             "timesteps or more, needs a lower rate, --learning_rate 0.003 (default: %(default)s)")
    parser.add_argument("--point_embedding", choices=("sinusoidal", "coordinates"), default="sinusoidal",
                        help="how the network gets the point (default: %(default)s)")
    parser.add_argument("--activation", choices=("silu", "relu"), default="silu",
                        help="activation function of the hidden layers (default: %(default)s)")
    parser.add_argument("--evaluate_every", type=integer(1), default=20, metavar="EPOCHS",
                        help="measure the distance to the data every EPOCHS epochs and at the end "
                             "(default: %(default)s)")
    parser.add_argument("--no_video", action="store_true", help="save no videos")
    parser.add_argument("--quiet", action="store_false", dest="verbose", help="do not print a line for each epoch")
    add_run_flags(parser, "results_diffusion")
    args = parser.parse_args()

    from lib.train_diffusion import run_diffusion_training
    folder, videos = run_diffusion_training(args)
    say(f"results are in {folder}/" + "".join(f", and in {video}" for video in videos))


if __name__ == "__main__":
    sys.exit(run_script(main, "--resume continues after the last finished epoch"))
