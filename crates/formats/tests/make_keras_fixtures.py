"""Writes tests/fixtures/keras.*: one small network in each of Keras' files, and what they hold (keras.json).

    pip install keras torch h5py
    python crates/formats/tests/make_keras_fixtures.py
"""

import json
import os
import pathlib

os.environ["KERAS_BACKEND"] = "torch"

import h5py
import keras

OUT = pathlib.Path(__file__).parent / "fixtures"


def main():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name="block1_conv1"),
            layers.BatchNormalization(name="bn"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, name="head"),
        ]
    )
    model.save(OUT / "keras.keras")
    model.save(OUT / "keras.h5")
    model.save_weights(OUT / "keras.weights.h5")
    weights = [[w.path, list(w.shape), w.numpy().astype(float).flatten().tolist()] for w in model.weights]
    with open(OUT / "keras.json", "w") as file:
        json.dump(weights, file)
    # A chunked and compressed data set, which other programs write.
    with h5py.File(OUT / "keras.gzip.h5", "w") as file:
        kernel = model.weights[0].numpy()
        file.create_dataset("conv/kernel:0", data=kernel, chunks=(3, 3, 3, 2), compression="gzip")
        file.create_dataset("conv/half", data=kernel.astype("<f2"))
        file.create_dataset("conv/big", data=kernel.astype(">f4"))
        file.create_dataset("conv/names", data=["a", "b"])


if __name__ == "__main__":
    main()
