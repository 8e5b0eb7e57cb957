"""Draw what each augmentation makes of a patch of the training data, alone and with probability 1.

in   split   split.tsv of the split stage
out  figure  PNG
"""

from pathlib import Path

from connectomake.config.settings.augment import AugmentConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.stage import run

MOST_BYTES = 2_000_000  # one figure for each training: it may be larger than others


def main(*, split: Path, figure: Path, cfg: TrainConfig, augment: AugmentConfig, title: str = "") -> None:
    """Draw a row for each augmentation that there is."""
    from connectomake.draw.augmentation import draw_augmentations
    from connectomake.draw.figure import save_figure
    from connectomake.split.table import read_split
    from connectomake.targets.registry import Targets
    from connectomake.train.examples import make_examples
    from connectomake.train.normalisation import find_normalisation
    from connectomake.train.patches import TrainingPatches
    from connectomake.train.volumes import open_boxes

    boxes = open_boxes(read_split(split), "train", memory_gb=0, targets=cfg.targets)
    targets = Targets(cfg.targets, boxes[0].voxel_size_zyx_nm, boxes[0].combinations)
    patches = TrainingPatches(boxes, cfg, augment, targets, find_normalisation(boxes, cfg))
    save_figure(draw_augmentations(make_examples(patches), title), figure, MOST_BYTES)


if __name__ == "__main__":
    run(main)
