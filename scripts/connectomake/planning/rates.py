"""How fast stages are, and what they leave on the disk, where no stage estimates it of itself.

Decoders: README's table, 256^3 voxels on one core of a Xeon; `affinity_cc` with its reading and writing in blocks,
which takes most of its time. Prediction and training: `predict.estimate`.
"""

from __future__ import annotations

MVOXEL_PER_S_OF_DECODER = {  # of a core
    "affinity_cc": 20.0,
    "semantic": 40.0,
    "flow": 10.0,
    "seeded_watershed": 4.0,
    "waterz": 0.6,
    "mutex_watershed": 0.24,
}
MVOXEL_PER_S_MEASURED = 50.0  # labels and truth, of a core
MVOXEL_PER_S_INGESTED = 50.0  # read, checked and, where the format is slow, written again, of a core

TRAINING_THREADS = 8  # of rule train_model
TRAINING_PASSES = 3  # forwards, and backwards for values and for weights
TRAINING_COPIES = 4  # of the weights on the disk: checkpoint, average and Adam's two moments

PYRAMID = 8 / 7  # of all levels to the finest
LABEL_BYTES = 4
START_MIN = 0.2  # of a job, besides what its stage needs to start: two Snakemakes on a node, and the queue's next look
