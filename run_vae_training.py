"""Train a variational autoencoder on handwritten digits.

    python run_vae_training.py                          # 15 epochs; results in results_kl1.0/
    python run_vae_training.py --kl_loss_weight 30      # results in results_kl30.0/
    python run_vae_training.py --resume                 # continue a stopped run after its last finished epoch
"""
import sys

from lib.script import Parser, add_run_flags, file_name, integer, number, run_script, say


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--kl_loss_weight", type=number(0, 1e6), default=1.0,
                        help="weight of the KL term in the loss (default: %(default)s)")
    parser.add_argument("--num_epochs", "--epochs", type=integer(1), default=15, metavar="N",
                        help="train until N epochs are finished (default: %(default)s)")
    parser.add_argument("--lr", "--learning_rate", type=number(0, above=True), default=1e-3,
                        help="learning rate of Adam (default: %(default)s)")
    parser.add_argument("--batch_size", type=integer(1), default=128, help="images per step (default: %(default)s)")
    parser.add_argument("--latent_size", type=integer(1), default=2,
                        help="number of latent variables; plot_latent_space.py needs 2 (default: %(default)s)")
    parser.add_argument("--hidden_size", type=integer(1), default=100,
                        help="number of units in each hidden layer (default: %(default)s)")
    parser.add_argument("--dataset", choices=("auto", "mnist", "digits"), default="auto",
                        help="MNIST, scikit-learn's small digits, or auto: MNIST if available (default: %(default)s)")
    parser.add_argument("--data_dir", type=file_name, default="data", metavar="DIR",
                        help="folder with MNIST, downloaded there if missing (default: %(default)s)")
    parser.add_argument("--no_images", action="store_true", help="save no figures")
    add_run_flags(parser, "results_kl#, where # is the KL weight")
    args = parser.parse_args()

    from lib.train_vae import run_vae_training
    folder = run_vae_training(args)
    say(f"results are in {folder}/")


if __name__ == "__main__":
    sys.exit(run_script(main, "--resume continues after the last finished epoch"))
