"""The few slices that pictures of a generator show, kept so that drawing reads no volume and no network.

``samples.npz`` holds ``about``, JSON text: ``groups``, each with ``class``, ``shape_zyx_vx``, ``voxel_size_zyx_nm``;
``reconstructions``, each with ``class``, ``key``, ``voxel_size_zyx_nm``, ``patch_zyx_vx``, ``scores`` of both stages.
Arrays are named by the number of the group: ``0/real/z`` and ``0/made/z``, (N, Y, X) uint8, are the middle slices of N
volumes across z, ``0/real/y`` those across y, and ``0/real_labels/z`` int64, where there are labels. Those of
reconstructions are ``0/reconstruction/real/z``, ``.../stage1/z`` and ``.../stage2/z``, (Y, X) float32 in [-1, 1].
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from connectomake.files import replacing
from connectomake.synth.metrics.compared_volumes import Group, Piece
from connectomake.synth.metrics.reconstruction import Scores

SHOWN = 4  # volumes of each class, real and made
AXES = {"z": 0, "y": 1}


class Samples:
    """Slices of volumes, collected while these pass."""

    def __init__(self) -> None:
        self._groups: dict[Group, dict[str, Any]] = {}
        self._reconstructions: list[dict[str, Any]] = []
        self._slices: dict[str, list[np.ndarray]] = {}
        self._arrays: dict[str, Any] = {}

    def add(self, kind: str, piece: Piece, image: np.ndarray) -> None:
        """Keep slices of a volume, unless there are enough of its kind and group.

        Parameters
        ----------
        kind
            real or made.
        piece
            The volume; its labels are read if it has some.
        image
            Its (Z, Y, X) in [-1, 1].
        """
        group = piece.group
        known = {"class": group.class_name, "shape_zyx_vx": list(group.shape_zyx_vx)}
        self._groups.setdefault(group, known | {"voxel_size_zyx_nm": list(piece.voxel_size_zyx_nm)})
        name = f"{list(self._groups).index(group)}/{kind}"
        if len(self._slices.get(f"{name}/z", [])) >= SHOWN:
            return
        labels = piece.read_labels()
        for axis, number in AXES.items():
            grey = np.rint((_middle(image, number) + 1) * 127.5).astype(np.uint8)
            self._slices.setdefault(f"{name}/{axis}", []).append(grey)
            if labels is not None:
                self._slices.setdefault(f"{name}_labels/{axis}", []).append(_middle(labels, number).astype(np.int64))

    def add_reconstruction(
        self, piece: Piece, volumes: Mapping[str, np.ndarray], scores: Mapping[str, Scores], patch_zyx_vx: list[int]
    ) -> None:
        """Keep slices of a volume and its reconstructions, unless there is one of its class.

        Parameters
        ----------
        piece
            The volume.
        volumes
            real, stage1 and stage2: (Z, Y, X) in [-1, 1].
        scores
            Of stage1 and stage2.
        patch_zyx_vx
            What was encoded by itself.
        """
        if any(known["class"] == piece.group.class_name for known in self._reconstructions):
            return
        number = len(self._reconstructions)
        for name, volume in volumes.items():
            for axis, place in AXES.items():
                self._arrays[f"{number}/reconstruction/{name}/{axis}"] = _middle(volume, place).astype(np.float32)
        known = {"class": piece.group.class_name, "key": piece.key, "patch_zyx_vx": patch_zyx_vx}
        known |= {"voxel_size_zyx_nm": list(piece.voxel_size_zyx_nm)}
        self._reconstructions.append(known | {"scores": {name: asdict(score) for name, score in scores.items()}})

    def save(self, path: Path) -> None:
        """Write samples.npz, atomically."""
        about = json.dumps({"groups": list(self._groups.values()), "reconstructions": self._reconstructions})
        arrays: dict[str, Any] = {name: np.stack(slices) for name, slices in self._slices.items()}
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, about=np.array(about), **arrays, **self._arrays)


def _middle(volume: np.ndarray, axis: int) -> np.ndarray:
    return np.take(volume, volume.shape[axis] // 2, axis)
