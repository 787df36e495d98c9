"""Draw an overview of a dataset with a row for each class: python -m course.flowers.sheet DIR FILE"""
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from lib.script import Parser, UserError, integer, run_script

SIDE, GAP, LABEL = 64, 4, 70        # pixels


def draw_sheet(folder: Path, columns: int) -> Image.Image:
    """Draw each class's name and its first images, {train,val,test}/CLASS/*.jpg, cropped to squares."""
    names = sorted({path.name for path in folder.glob("*/*") if path.is_dir()})
    if not names:
        raise UserError(f"{folder} contains no images of the form {{train,val,test}}/CLASS/*.jpg")
    step = SIDE + GAP
    sheet = Image.new("RGB", (LABEL + columns * step, GAP + len(names) * step), "white")
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        top = GAP + row * step
        pen.text((GAP, top + SIDE // 2 - 6), name, fill="black")
        files = sorted(folder.glob(f"*/{name}/*.jpg"), key=lambda path: path.name)
        for column, path in enumerate(files[:columns]):
            with Image.open(str(path)) as image:
                square = ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.BICUBIC)
            sheet.paste(square, (LABEL + column * step, top))
    return sheet


def main() -> None:
    parser = Parser(__doc__, prog="python -m course.flowers.sheet")
    parser.add_argument("folder", metavar="DIR", type=Path, help="the dataset")
    parser.add_argument("file", metavar="FILE", type=Path, help="the file to write")
    parser.add_argument("--columns", type=integer(1, 100), default=12, help="images in a row (default: %(default)s)")
    args = parser.parse_args()
    draw_sheet(args.folder, args.columns).save(str(args.file), quality=92)


if __name__ == "__main__":
    sys.exit(run_script(main))
