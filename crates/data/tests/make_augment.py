"""What torchvision makes of one small picture, operation by operation, for the tests of `src/image/augment/`.

    python crates/data/tests/make_augment.py

writes `fixtures/augment/expected.bin` (the picture, then each result, RGB) and `fixtures/augment/cases.json`.
"""

import json
import pathlib

import numpy as np
import PIL
import torch
import torchvision
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode, RandAugment
from torchvision.transforms.autoaugment import _apply_op

HERE = pathlib.Path(__file__).parent / "fixtures" / "augment"
BILINEAR = InterpolationMode.BILINEAR
FILL = [124, 116, 104]
WIDTH, HEIGHT = 23, 17


def picture():
    """Smooth colour, a saturated disc, a grey patch and some noise; red does not use its whole range."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    rgb = np.stack([40 + 150 * x / WIDTH, 255 * y / HEIGHT, 127 + 120 * np.sin(x / 3 + y / 5)], -1)
    rgb[(x - 11) ** 2 + (y - 6) ** 2 < 16] = [200, 10, 30]
    rgb[12:16, 2:7] = 90
    rgb[:, :, 1:] += np.random.default_rng(0).normal(0, 9, (HEIGHT, WIDTH, 2))
    rgb[13, 3] = [77, 77, 77]
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8), "RGB")


def cases(image):
    blob, rows = bytearray(image.tobytes()), []

    def case(op, value, result, **more):
        rows.append({"op": op, "value": value, "offset": len(blob), "size": [result.height, result.width], **more})
        blob.extend(result.tobytes())

    case("flip", 0, F.hflip(image))
    for degrees in (-37.5, 8, 90):
        case("rotate", degrees, F.rotate(image, degrees, BILINEAR, fill=FILL))
    for factor in (0.0, 0.55, 1.0, 1.7):
        case("brightness", factor, F.adjust_brightness(image, factor))
        case("contrast", factor, F.adjust_contrast(image, factor))
        case("saturation", factor, F.adjust_saturation(image, factor))
        case("sharpness", factor, F.adjust_sharpness(image, factor))
    for factor in (-0.4, -0.05, 0.0, 0.2):
        case("hue", factor, F.adjust_hue(image, factor))
    window = (3, 5, 11, 13)
    case("crop", 0, F.resized_crop(image, *window, [9, 10], BILINEAR), window=window)
    case("crop", 0, F.resized_crop(image, *window, [20, 16], BILINEAR), window=window)
    # Every operation of RandAugment, at three strengths of its scale.  Not 4: it shears by 0.04, where a pixel's source lies
    # on the very edge, and the last bit of a tangent decides whether it is in the picture.
    space = RandAugment()._augmentation_space(31, (HEIGHT, WIDTH))
    for name, (magnitudes, signed) in space.items():
        for level in (5, 9, 30) if magnitudes.ndim else (0,):
            magnitude = magnitudes[level].item() if magnitudes.ndim else 0.0
            for sign in (1, -1) if signed else (1,):
                case(name, level, _apply_op(image, name, sign * magnitude, BILINEAR, FILL), sign=sign)
    (HERE / "expected.bin").write_bytes(blob)
    return rows


HERE.mkdir(parents=True, exist_ok=True)
made_with = {"pillow": PIL.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__}
made = {"made_with": made_with, "size": [HEIGHT, WIDTH], "fill": FILL, "cases": cases(picture())}
(HERE / "cases.json").write_text(json.dumps(made) + "\n")
