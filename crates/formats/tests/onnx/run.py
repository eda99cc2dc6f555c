"""Runs every network of a folder in onnxruntime and compares with what is recorded beside it (see `make.py`).

    python run.py DIR [RECORDED]

Prints one line a network that differs, and exits with their number.  RECORDED is another folder to find records in.
"""

import json
import os
import sys

import numpy as np
import onnxruntime

TOLERANCE = 1e-4


def difference(path, stem):
    """The largest difference of the first output, relative to the largest output above 1."""
    with open(stem + ".json") as file:
        meta = json.load(file)
    with open(stem + ".bin", "rb") as file:
        blob = file.read()

    def array(tensor, dtype):
        count = int(np.prod(tensor["shape"]))
        return np.frombuffer(blob, dtype, count, tensor["offset"]).reshape(tensor["shape"])

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    dtypes = {"f32": np.float32, "i64": np.int64}
    feed = {t["name"]: array(t, dtypes[t["dtype"]]) for t in meta["inputs"] if t["name"] in names}
    got, want = session.run(None, feed)[0], array(meta["output"], np.float32)
    return float(np.abs(got - want).max() / max(1.0, np.abs(want).max()))


if __name__ == "__main__":
    written = sys.argv[1]
    recorded = sys.argv[2] if len(sys.argv) > 2 else written
    failures = 0
    for name in sorted(os.listdir(written)):
        if name.endswith(".onnx"):
            stem = os.path.join(recorded, name.removesuffix(".onnx"))
            try:
                worst = difference(os.path.join(written, name), stem)
            except Exception as error:
                worst = str(error)
            if not isinstance(worst, float) or not worst <= TOLERANCE:
                failures += 1
                print(f"{name}: {worst}")
    sys.exit(failures)
