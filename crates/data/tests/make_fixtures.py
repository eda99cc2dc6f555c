"""Makes the fixtures of this folder: tiny pictures and a tiny tokenizer, and what Pillow and transformers make of them.

    python crates/data/tests/make_fixtures.py

needs Pillow, numpy, torchvision and transformers; the versions that made the committed files are in `fixtures/cases.json`.
"""

import io
import json
import pathlib

import numpy as np
import PIL
from PIL import Image, ImageOps
import torchvision
import torchvision.transforms as T
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

HERE = pathlib.Path(__file__).parent / "fixtures"
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def picture(width, height, seed=0):
    """Smooth colour with a hard edge and some noise: all that a filter can get wrong."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    rgb = np.stack([255 * x / width, 255 * y / height, 127 + 120 * np.sin(x / 3 + y / 5)], -1)
    rgb[(x - width / 2) ** 2 + (y - height / 3) ** 2 < (min(width, height) / 4) ** 2] = [250, 10, 30]
    rgb += np.random.default_rng(seed).normal(0, 12, rgb.shape)
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8), "RGB")


def smooth(width, height):
    """Without edges: JPEG decoders may differ in how they spread chroma."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    rgb = np.stack([255 * x / width, 255 * y / height, 255 * (1 - x / width)], -1)
    return Image.fromarray(rgb.astype(np.uint8), "RGB")


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def pictures():
    rgb = picture(41, 29)
    grey = rgb.convert("L")
    alpha = Image.fromarray(np.tile(np.arange(41, dtype=np.uint8) * 6, (29, 1)), "L")
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    la = grey.copy()
    la.putalpha(alpha)
    palette = rgb.quantize(16)
    deep = (np.asarray(grey).astype(np.uint16) << 8) | 0x5A
    yield "rgb.png", encoded(rgb, format="PNG")
    yield "rgba.png", encoded(rgba, format="PNG")
    yield "la.png", encoded(la, format="PNG")
    yield "grey.png", encoded(grey, format="PNG")
    yield "palette.png", encoded(palette, format="PNG")
    yield "palette_transparent.png", encoded(palette, format="PNG", transparency=3)
    yield "one_bit.png", encoded(grey.convert("1"), format="PNG")
    yield "grey16.png", encoded(Image.fromarray(deep), format="PNG")
    yield "rgb.gif", encoded(palette, format="GIF")
    yield "animated.gif", encoded(
        palette, format="GIF", save_all=True, append_images=[picture(41, 29, 1).quantize(16)], transparency=3
    )
    yield "rgb.bmp", encoded(rgb, format="BMP")
    yield "palette.bmp", encoded(palette, format="BMP")
    yield "grey.pgm", encoded(grey, format="PPM")
    yield "rgb.ppm", encoded(rgb, format="PPM")
    yield "one_bit.pbm", encoded(grey.convert("1"), format="PPM")
    yield "rgb.webp", encoded(rgb, format="WEBP", lossless=True)
    yield "rgba.webp", encoded(rgba, format="WEBP", lossless=True, exact=True)
    yield "rgb.tiff", encoded(rgb, format="TIFF")
    yield "lzw.tiff", encoded(rgb, format="TIFF", compression="tiff_lzw")
    yield "grey.tiff", encoded(grey, format="TIFF")
    yield "grey.jpg", encoded(grey, format="JPEG", quality=90)
    yield "smooth_420.jpg", encoded(smooth(48, 32), format="JPEG", quality=90)
    yield "edges_444.jpg", encoded(rgb, format="JPEG", quality=90, subsampling=0)
    yield "progressive.jpg", encoded(rgb, format="JPEG", quality=90, subsampling=0, progressive=True)
    yield "lossy.webp", encoded(smooth(48, 32), format="WEBP", quality=90)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"exif_{orientation}.jpg", encoded(picture(24, 16), format="JPEG", quality=90, subsampling=0, exif=exif)


def reference(data):
    """Pillow's own handling of EXIF, then what is seen over white; 16-bit grey by its high byte (see `decode.rs`)."""
    image = Image.open(io.BytesIO(data))
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = ImageOps.exif_transpose(image)
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    return Image.composite(image.convert("RGB"), white, image.getchannel("A"))


def resized(image, size, resample):
    """Horizontal before vertical, as Pillow did up to 12; from 13 it turns round where the height shrinks much more."""
    return image.resize((size[0], image.height), resample).resize(size, resample)


def shorter_then_crop(image, shorter, size, filter):
    """torchvision's own `Resize` and `CenterCrop` on a Pillow picture."""
    image = T.Resize(shorter, getattr(T.InterpolationMode, filter.upper()))(image)
    return T.CenterCrop(size)(image)


def image_cases():
    blob, cases = bytearray(), []

    def case(file, image, **how):
        cases.append({"file": file, "offset": len(blob), "size": [image.height, image.width], **how})
        blob.extend(image.tobytes())

    for name, data in pictures():
        (HERE / "images" / name).write_bytes(data)
        image = reference(data)
        case(name, image, op="squash", filter="bilinear")
        if name == "rgb.png":
            for filter, resample in FILTERS.items():
                for size in [(20, 14), (11, 23), (64, 64), (41, 15), (7, 29), (1, 1), (90, 5)]:
                    case(name, resized(image, size, resample), op="squash", filter=filter)
                for shorter, size in [(16, 14), (20, 20), (13, 8), (24, 17), (10, 16), (29, 28)]:
                    cropped = shorter_then_crop(image, shorter, size, filter)
                    case(name, cropped, op="crop", shorter=shorter, filter=filter)
    large = picture(160, 120)
    (HERE / "images" / "large.png").write_bytes(encoded(large, format="PNG", optimize=True))
    for filter, resample in FILTERS.items():
        case("large.png", resized(large, (32, 32), resample), op="squash", filter=filter)
        case("large.png", shorter_then_crop(large, 36, 32, filter), op="crop", shorter=36, filter=filter)
    (HERE / "expected.bin").write_bytes(blob)
    return cases


TEXTS = [
    "The movie was surprisingly good!",
    "  Stray   spaces,\tTABS\nand lines ",
    "Ünïcödé résumé naïve façade",
    "emoji 🙂 and 漢字 mixed",
    "unknownword zzzqqq don't can't-won't",
    "",
    "x" * 150,
    "a very " * 20 + "long one",
    "control\u0000char\u200bzero width\ufeff",
    "numbers 12345 & symbols $%^ [MASK] <s>",
]


def text_cases():
    words = "the a an was is not and one very long movie film good bad surprising stray space line tab emoji mixed un know"
    words += " number symbol don can won resume naive facade unicode control char zero width word"
    pieces = ["##" + p for p in "ly s ing ed n d word zero width char".split()]
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789!,.'-&$%^<>[]漢字")
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + words.split() + pieces
    vocab += letters + ["##" + c for c in letters[:36]]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(vocab))}
    # Not 0, so that a wrong default shows.
    vocab["[PAD]"], vocab["[UNK]"] = 1, 0
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    path = HERE / "tokenizer.json"
    path.write_text(tokenizer.to_str())
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(path), pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    cases = []
    for length in (32, 8):
        batch = fast(TEXTS, truncation=True, max_length=length, padding=True)
        cases.append({"length_max": length, "input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]})
    return {"texts": TEXTS, "cases": cases}


(HERE / "images").mkdir(parents=True, exist_ok=True)
made = {
    "made_with": {"pillow": PIL.__version__, "torchvision": torchvision.__version__, "transformers": transformers.__version__},
    "images": image_cases(),
    "texts": text_cases(),
}
(HERE / "cases.json").write_text(json.dumps(made, ensure_ascii=False) + "\n")
