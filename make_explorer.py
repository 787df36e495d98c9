"""Make one interactive HTML page of your trained models. It opens in a browser, without a network.

    python make_explorer.py                             # all runs in results_*/; the page is explorer.html
    python make_explorer.py results_kl1.0 results_gan   # only these runs
    python make_explorer.py docs/gan_generator.pt       # the generator that comes with the project
    python make_explorer.py --overwrite --open          # make it again, and open it in the browser
"""
import sys

from lib.script import Parser, file_name, run_script, say


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("runs", type=file_name, nargs="*", metavar="RUN",
                        help="folder of a run, or a file with a generator (default: all runs in results_*)")
    parser.add_argument("--output", type=file_name, default="explorer.html", metavar="FILE",
                        help="the page (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the page if it exists")
    parser.add_argument("--open", action="store_true", help="also open the page in the browser")
    parser.add_argument("--data_dir", type=file_name, default="data", metavar="DIR",
                        help="folder with MNIST, for VAEs that were trained on it (default: %(default)s)")
    args = parser.parse_args()

    from lib.explorer import run_make_explorer
    path, size = run_make_explorer(args)
    say(f"saved the explorer to {path} ({size / 1e6:.1f} MB)")
    if args.open:
        import webbrowser
        if not webbrowser.open(path.resolve().as_uri()):
            say(f"no browser could be started: open {path} by hand")


if __name__ == "__main__":
    sys.exit(run_script(main))
