"""Train a variational autoencoder on handwritten digits.

    python run_vae_training.py                          # 15 epochs, results in results_kl1.0/
    python run_vae_training.py --kl_loss_weight 30      # results in results_kl30.0/
    python run_vae_training.py --resume                 # go on after the last finished epoch of a stopped run
"""
import sys

from lib.script import Parser, add_run_flags, file_name, integer, number, run_script, say


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--kl_loss_weight", type=number(0, 1e6), default=1.0,
                        help="factor of the KL term in the loss (default: %(default)s)")
    parser.add_argument("--num_epochs", type=integer(1), default=15, help="default: %(default)s")
    parser.add_argument("--lr", type=number(0, above=True), default=1e-3,
                        help="learning rate of Adam (default: %(default)s)")
    parser.add_argument("--batch_size", type=integer(1), default=128, help="images in a step (default: %(default)s)")
    parser.add_argument("--latent_size", type=integer(1), default=2,
                        help="latent variables; the latent space is drawn for 2 (default: %(default)s)")
    parser.add_argument("--hidden_size", type=integer(1), default=100,
                        help="units of each hidden layer (default: %(default)s)")
    parser.add_argument("--dataset", choices=("auto", "mnist", "digits"), default="auto",
                        help="MNIST, the small digits of scikit-learn, or auto: MNIST if it can be had (default: auto)")
    parser.add_argument("--data_dir", type=file_name, default="data", metavar="DIR",
                        help="where MNIST lies or is downloaded to (default: %(default)s)")
    parser.add_argument("--no_images", action="store_true", help="draw no pictures")
    add_run_flags(parser, "results_kl#, # the KL loss weight")
    args = parser.parse_args()

    from lib.train_vae import run_vae_training
    folder = run_vae_training(args)
    say(f"results are in {folder}/")


if __name__ == "__main__":
    sys.exit(run_script(main, "--resume goes on after the last finished epoch"))
