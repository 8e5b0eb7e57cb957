"""A generator that trains in a second: four small volumes of two classes, networks of a few channels."""

import csv
import os
import signal

import numpy as np
from small_training import make_volume_of

from connectomake.config.settings.synth import SynthConfig
from connectomake.fitting.states import KeepState
from connectomake.geometry import Box
from connectomake.synth.autoencoder_training import train_stage1, train_stage2
from connectomake.synth.examples import Example, write_table

SHAPE = (16, 16, 16)


def settings(stage1=(), stage2=(), **changes):
    common = {
        "validate_every_steps": 4,
        "checkpoint_every_steps": 3,
        "validate_volumes": 2,
        "device": "cpu",
        "batch": 2,
    }
    values = {
        "examples": {"shapes_zyx_vx": [SHAPE]},
        "autoencoder": {
            **{
                "ratio_zyx": [2, 2, 2],
                "patch_zyx_vx": [8, 8, 8],
                "hidden": 4,
                "groups": 2,
                "embedding": 2,
                "codes": 16,
            },
            **{"heads": 1, "head_channels": 4},
        },
        "discriminator": {"channels": 4, "layers": 1, "padding": 1},
        "stage1": {**common, "max_steps": 8, "adversary_from_step": 3, **dict(stage1)},
        "stage2": {**common, "max_steps": 6, "batch": 1, **dict(stage2)},
        "denoiser": {"subvolume": 2, "dim": 24, "mults": [1, 1, 2], "attention": [False] * 3, "heads": 4, "groups": 8},
    }
    return SynthConfig.model_validate(values | changes)


def make_examples(folder, shape=SHAPE):
    """Return examples.tsv of a `coarse` and a `fine` class, two examples to learn from and one held out of each."""
    examples = []
    for class_name, side in (("coarse", 8), ("fine", 2)):
        for number, role in enumerate(("learn", "learn", "hold")):
            rng = np.random.default_rng(number)
            labels = np.kron(rng.integers(1, 5, [n // side for n in shape], np.uint32), np.ones((side,) * 3, np.uint32))
            raw = (labels * 50 + rng.integers(0, 20, shape)).astype(np.uint8)
            name = f"{class_name}_{number}"
            file = make_volume_of(folder / name, name, "train", raw, labels).volume_json
            box, nm = Box.of_shape(shape), (10.0, 10.0, 10.0)
            examples.append(Example(name, name, class_name, role, file, box, shape, nm, (0.0, 255.0), "uint8"))
    write_table(folder / "examples.tsv", examples)
    return folder / "examples.tsv"


def train(examples, folder, cfg, stage1=None):
    """Train the first stage, or the second from the checkpoint of the first."""
    files = (folder / "model.ckpt", folder / "metrics.csv", folder / "run")
    return train_stage2(examples, stage1, *files, cfg) if stage1 else train_stage1(examples, *files, cfg)


def stop_before(monkeypatch, step, begin):
    """Send a training the signal that a cluster sends, before a step."""
    whole = KeepState.on_train_batch_start

    def with_signal(self, trainer, *args):
        if trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        whole(self, trainer, *args)

    with monkeypatch.context() as patched:
        patched.setattr(KeepState, "on_train_batch_start", with_signal)
        assert not begin()


def read_rows(path):
    with path.open() as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "steps_per_s")} for row in csv.DictReader(file)]
