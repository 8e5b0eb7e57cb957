"""Give a volume its skeletons: those of a file, or else computed from its truth labels.

in   volume     volume.json of the ingested volume
     source     skeleton file (npz, SWC file or folder, NISB pickle); optional
out  skeletons  npz: edges, node_skeleton_id, node_pos_nm (z, y, x), within the volume
"""

from pathlib import Path

from connectomake.config.measure import SkeletonConfig
from connectomake.stage import run

DEFAULTS = SkeletonConfig()


def main(
    *, volume: Path, skeletons: Path, source: Path | None = None, cfg: SkeletonConfig = DEFAULTS, threads: int = 1
) -> None:
    """Write the skeletons of one volume."""
    from connectomake.measure.skeletonize import skeletons_of_volume
    from connectomake.volumes.skeletons import save_skeletons

    save_skeletons(skeletons, skeletons_of_volume(volume, source, cfg, threads=threads))


if __name__ == "__main__":
    run(main)
