"""Generate a miniature of the CellMap Segmentation Challenge: images, labels, crops to submit, and their hidden truth.

out  done      challenge.json, written last; beside it tree/, truth.zarr, two manifests and classes.csv
     cfg       what to make: the section `cellmap` of a data config
     phantoms  preset -> its settings (as in config/phantom), for each phantom that `cfg` names
The seeds decide everything; the number of threads changes nothing.
"""

from pathlib import Path

from pydantic import RootModel

from connectomake.config.settings.data_cellmap import CellmapConfig
from connectomake.config.settings.phantom import PhantomConfig
from connectomake.stage import run


class Phantoms(RootModel[dict[str, PhantomConfig]]):
    """Settings of phantoms by preset."""


def main(*, done: Path, cfg: CellmapConfig, phantoms: Phantoms, threads: int = 1) -> None:
    """Make the challenge that the settings describe."""
    from connectomake.phantom.challenge.make import make_challenge

    presets = dict(phantoms.root)
    make_challenge(cfg, presets, done.parent, threads=threads)


if __name__ == "__main__":
    run(main)
