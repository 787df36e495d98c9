"""The explorer: one HTML file in which trained models can be moved by hand. It needs no server and no network.

The page's own source lies in explorer_page/. The exported runs follow it as JSON, in which each array is replaced by
its place in one block of bytes: compressed, and in base64. A content security policy forbids the page to fetch
anything or to run any other script.
"""
import base64
import hashlib
import json
import zlib
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple, Union

import numpy as np

from lib.checkpoint import load_checkpoint
from lib.digits import Digits, load_digits
from lib.draw_vae import CLASS_COLORS
from lib.export_runs import export_diffusion, export_gan, export_vae, sample_images
from lib.files import write_file
from lib.script import RunError, UserError, say

SOURCE = Path(__file__).resolve().parent / "explorer_page"
SCRIPTS = ("numerics.js", "data.js", "drawing.js", "vae.js", "diffusion.js", "gan.js", "page.js")
MARK = b'<!DOCTYPE html>\n<html lang="en" data-made-by="make_explorer">'      # the beginning of every page
KINDS = {"vae": ("VAE", "run_vae_training.py"), "diffusion": ("diffusion model", "run_diffusion_training.py"),
         "gan": ("GAN", "run_gan_training.py")}


def kind_of(path: Path) -> str:
    """Return what a run is of: "vae", "diffusion" or "gan". Raises UserError."""
    if path.is_file():
        return "gan"
    checkpoint = load_checkpoint(path)
    for kind, names in (("vae", {"kl_loss_weight"}), ("diffusion", {"diffusion_steps"}), ("gan", {"ngf"})):
        if names <= checkpoint["settings"].keys():
            return kind
    raise UserError(f"{path} is not a run of one of the training scripts")


def export_runs(paths: Sequence[Path], data_dir: str) -> Dict[str, Any]:
    """Export runs by kind. A run that cannot be used is reported in one line, and left out."""
    @lru_cache(maxsize=None)
    def load(name: str) -> Union[Digits, Exception]:        # what fails once is not tried again for every run
        try:
            return load_digits(name, data_dir)
        except (UserError, RunError) as error:
            return error

    def digits(name: str) -> Digits:
        loaded = load(name)
        if isinstance(loaded, Exception):
            raise loaded
        return loaded

    runs: Dict[str, Any] = {"vae": [], "diffusion": [], "gan": [], "digits": {}, "colors": CLASS_COLORS}
    exporters = {"vae": lambda path: export_vae(path, digits), "diffusion": export_diffusion, "gan": export_gan}
    names = Counter(path.name for path in paths)
    for path in paths:
        try:
            kind = kind_of(path)
            name = path.name if path.name and names[path.name] == 1 else str(path)
            runs[kind].append({"name": name, **exporters[kind](path)})
        except (UserError, RunError, NotImplementedError) as error:
            say(f"left out: {error}" if str(path) in str(error) else f"left out: {path}: {error}")
    for name in sorted({run["dataset"] for run in runs["vae"]}):
        sample = sample_images(digits(name))
        greys = (sample["images"].astype(int) + 8) // 17 * 17               # 16 of them, which compress better
        runs["digits"][name] = {**sample, "images": greys.astype(np.uint8)}
    return runs


def pack(content: Any) -> Tuple[str, str]:
    """Return the JSON of nested dicts and lists, and the bytes of the arrays in it, compressed and in base64.

    The first bytes of all 16-bit integers come before their second ones, which compresses better.
    """
    places: Dict[bytes, int] = {}                   # equal arrays are stored once

    def replace(array: Any) -> Any:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{type(array)} has no JSON")
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        data = array.view(np.uint8).reshape(-1, 2).T.tobytes() if array.dtype == np.int16 else array.tobytes()
        data += bytes(-len(data) % 4)
        at = places.setdefault(data, sum(map(len, places)))
        return {"at": at, "type": str(array.dtype), "shape": array.shape}

    text = json.dumps(content, default=replace, separators=(",", ":"))
    return text.replace("<", "\\u003c"), base64.b64encode(zlib.compress(b"".join(places), 9)).decode()


def make_page(text: str, arrays: str) -> bytes:
    """Put the page together from its source and what `pack` returns."""
    style = (SOURCE / "style.css").read_text(encoding="utf-8")
    script = "\n".join((SOURCE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    parts = {"STYLE": style, "SCRIPT": script, "RUNS": text, "ARRAYS": arrays,
             "STYLE_HASH": _hash(style), "SCRIPT_HASH": _hash(script)}
    before, *rest = (SOURCE / "page.html").read_text(encoding="utf-8").split("{{")
    pieces = [piece.split("}}", 1) for piece in rest]
    return "".join([before, *(parts[name] + after for name, after in pieces)]).encode()


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def run_make_explorer(args: Any) -> Tuple[Path, int]:
    """Do all that make_explorer.py does.

    Args:
        args: the flags.

    Returns:
        The path of the page, and its size in bytes.
    """
    path = Path(args.output)
    if path.exists():
        if not args.overwrite:
            raise UserError(f"{path} already exists: --overwrite replaces it, --output chooses another file")
        if not path.is_file() or path.read_bytes()[:len(MARK)] != MARK:
            raise UserError(f"{path} exists, but make_explorer.py did not write it: move it, or choose another "
                            "--output")
    paths = list(dict.fromkeys(map(Path, args.runs)))       # each one once
    paths = paths or sorted(path for path in Path().glob("results_*") if path.is_dir())
    runs = export_runs(paths, args.data_dir)
    if not any(runs[kind] for kind in KINDS):
        scripts = ", ".join(script for _, script in KINDS.values())
        raise UserError(f"found no trained model to show: train one first ({scripts})")
    for kind, (name, script) in KINDS.items():
        if not runs[kind]:
            say(f"the page shows no {name}: {script} trains one")
    page = make_page(*pack(runs))
    write_file(path, page)
    return path, len(page)
