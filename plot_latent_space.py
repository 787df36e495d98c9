"""Draw the latent space of a trained VAE: the decoded grid and the encoded test set.

    python plot_latent_space.py                         # the run in results_kl1.0/; saves the figure there
    python plot_latent_space.py --kl_loss_weight 30     # the run in results_kl30.0/
    python plot_latent_space.py --compare 0 1 30        # three runs side by side, in kl_comparison.png
"""
import sys

from lib.script import Parser, file_name, folder_name, integer, number, run_script, say


def main() -> None:
    parser = Parser(__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--kl_loss_weight", type=number(0, 1e6), default=1.0,
                       help="KL weight that the model was trained with (default: %(default)s)")
    which.add_argument("--output_dir", type=folder_name, metavar="DIR",
                       help="folder of the run (default: results_kl#, where # is the KL weight)")
    which.add_argument("--compare", type=number(0, 1e6), nargs="+", metavar="WEIGHT",
                       help="draw the runs with these KL weights side by side")
    parser.add_argument("--data_dir", type=file_name, default="data", metavar="DIR",
                        help="folder with MNIST (default: %(default)s)")
    parser.add_argument("--grid_size", type=integer(2, 100), default=20,
                        help="decoded images in each direction (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: %(default)s)")
    parser.add_argument("--show", action="store_true", help="also open the figure in a window")
    args = parser.parse_args()

    from lib.explore_latent_space import run_plot_latent_space
    say(f"saved the latent space to {run_plot_latent_space(args)}")


if __name__ == "__main__":
    sys.exit(run_script(main))
