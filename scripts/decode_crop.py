"""Turn what a network says of each class of a crop into labels on the crop's own voxels.

in   affinities  zarr.json of the (C, Z, Y, X) store of predictions, one channel for each class
     volume      volume.json of the crop
out  crop        crop.json, written last; the arrays lie in the folder cropN beside it
Resumes block by block, then class by class.
"""

from pathlib import Path

from connectomake.config.settings.submit import SubmitConfig
from connectomake.stage import run


def main(*, affinities: Path, volume: Path, crop: Path, cfg: SubmitConfig, code: str = "", threads: int = 1) -> None:
    """Write one array for each class."""
    from connectomake.submit.decode_crop import decode_crop

    decode_crop(affinities.parent, volume, cfg, out=crop, threads=threads, code=code)


if __name__ == "__main__":
    run(main)
