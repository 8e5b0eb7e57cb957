"""Give a volume its skeletons: those of a file, or else traced in its truth labels, block by block.

in   volume     volume.json of the ingested volume
     source     skeleton file (npz, SWC file or folder, NISB pickle); optional
out  skeletons  npz: edges, node_skeleton_id, node_pos_nm (z, y, x), within the volume
Resumes block by block: those that are finished lie in `cache` until the skeletons are written.
"""

import shutil
from pathlib import Path

from connectomake.config.settings.data import SkeletonConfig
from connectomake.stage import run

DEFAULTS = SkeletonConfig()


def main(
    *,
    volume: Path,
    skeletons: Path,
    source: Path | None = None,
    cfg: SkeletonConfig = DEFAULTS,
    cache: Path | None = None,
    code: str = "",
    threads: int = 1,
) -> None:
    """Write the skeletons of one volume."""
    from connectomake.ingest.skeletons import skeletons_of_volume
    from connectomake.volumes.skeletons import save_skeletons

    found = skeletons_of_volume(volume, source, cfg, cache=cache, code=code, threads=threads)
    save_skeletons(skeletons, found)
    if cache is not None:
        shutil.rmtree(cache, ignore_errors=True)


if __name__ == "__main__":
    run(main)
