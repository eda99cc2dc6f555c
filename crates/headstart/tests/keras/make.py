"""Writes a small chain of layers as Keras saves it, old and new, and what Keras answers (expected.json).

    pip install keras torch h5py
    python crates/headstart/tests/keras/make.py
"""

import json
import os
import pathlib

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np

OUT = pathlib.Path(__file__).parent


def main():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    trunk = [
        layers.Conv2D(4, 3, padding="same", activation="relu", bias_initializer="random_normal"),
        layers.MaxPooling2D(2),
        layers.Conv2D(5, 3, padding="same", activation="relu", bias_initializer="random_normal"),
        layers.Flatten(),
        layers.Dense(6, activation="relu", bias_initializer="random_normal"),
        layers.Dense(3, bias_initializer="random_normal"),
    ]
    model = keras.Sequential([keras.Input((6, 8, 3)), *trunk])
    image = np.random.default_rng(0).normal(size=(2, 6, 8, 3)).astype(np.float32)
    model.save(OUT / "chain.h5")
    model.save(OUT / "chain.keras")
    answer = model(image).detach().cpu().numpy()
    # Channels first, as our networks take them.
    expected = {"image": image.transpose(0, 3, 1, 2).flatten().tolist(), "logits": answer.flatten().tolist()}
    with open(OUT / "expected.json", "w") as file:
        json.dump(expected, file)


if __name__ == "__main__":
    main()
