"""Records what onnxruntime answers for networks that packages of PyPI carry: files that nobody made for us.

    pip install onnx onnxruntime numpy
    pip install --no-deps openwakeword==0.4.0 silero-vad==6.2.3 rapidocr-onnxruntime==1.4.4 nudenet==3.4.2 magika==1.0.3 ddddocr==1.6.1
    python packaged.py OUT
    cargo xtask onnx OUT

Open sizes are 2 where `SIZES` says nothing; sizes that a network must know beforehand, and inputs that choose between its graphs,
are fixed as `--fix` does.  A file that onnxruntime itself refuses is left out.
"""

import importlib.util
import os
import shutil
import sys

import numpy as np
import onnxruntime
from make import record

PACKAGES = ["openwakeword", "silero_vad", "rapidocr_onnxruntime", "nudenet", "magika", "ddddocr"]
# By the end of a file's name: sizes of its open axes by position among all axes of its inputs, and what is fixed.
SIZES = {
    "silero_vad/data/silero_vad.onnx": ([2, 576, 2], {"sr": 16000, "input_1": 576, "state_1": 2, "batch": 2}),
    "silero_vad/data/silero_vad_16k_op15.onnx": ([2, 576, 2], {"sequence": 576, "sr": 16000}),
    "silero_vad/data/silero_vad_half.onnx": ([2, 576, 2], {"sequence": 576}),
    "silero_vad/data/silero_vad_op18_ifless.onnx": ([2, 576, 2], {"sr": 16000}),
    "silero_vad/data/silero_vad_16k_sequence.onnx": ([3], {}),
    "openwakeword/resources/models/silero_vad.onnx": ([2, 512, 2, 2], {"sr": 16000, "sequence": 512}),
    "openwakeword/resources/models/melspectrogram.onnx": ([2, 1760], {}),
    "ch_PP-OCRv4_det_infer.onnx": ([1, 64, 96], {}),
    "ch_PP-OCRv4_rec_infer.onnx": ([2, 48, 160], {}),
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": ([2, 48, 192], {}),
    "nudenet/320n.onnx": ([1, 320, 320], {"height": 320, "width": 320}),
    "ddddocr/common.onnx": ([100], {}),
    "ddddocr/common_old.onnx": ([100], {}),
}


def feed_of(session, sizes, fixed):
    """Numbers for every input."""
    rng, sizes, feed = np.random.default_rng(0), list(sizes), {}
    for value in session.get_inputs():
        shape = [d if isinstance(d, int) else (sizes.pop(0) if sizes else 2) for d in value.shape]
        if "float" in value.type:
            feed[value.name] = rng.normal(size=shape).astype(np.float32) * 0.5
        else:
            dtype = np.int32 if "int32" in value.type else np.int64
            feed[value.name] = np.asarray(fixed.get(value.name, 0)) if not shape else rng.integers(0, 256, shape).astype(dtype)
    return feed


if __name__ == "__main__":
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for package in PACKAGES:
        root = os.path.dirname(importlib.util.find_spec(package).origin)
        for folder, _, names in sorted(os.walk(root)):
            for name in sorted(n for n in names if n.endswith(".onnx")):
                path = os.path.join(folder, name)
                copy = os.path.join(out, f"{package}.{name}")
                shutil.copyfile(path, copy)
                sizes, fixed = next((v for end, v in SIZES.items() if path.endswith(end)), ([], {}))
                options = onnxruntime.SessionOptions()
                options.log_severity_level = 3
                try:
                    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
                    record(copy, feed_of(session, sizes, fixed), fixed=fixed)
                except Exception as error:
                    print(f"{package}.{name}: onnxruntime refuses it: {str(error).splitlines()[0]}")
