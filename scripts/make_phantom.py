"""Generate an EM-like volume of packed neurites whose labels, organelles and skeletons are known exactly.

out  raw         zarr.json of the (Z, Y, X) uint8 store, membranes dark
     labels      zarr.json of the (Z, Y, X) uint32 store, neurites 1 to n
     organelles  zarr.json of the (Z, Y, X) uint8 store, 0 none, 1 mitochondrion, 2 vesicle
     skeletons   npz, one tree for each neurite
The seed decides everything; the number of threads changes nothing.
"""

from pathlib import Path

from connectomake.config.settings.phantom import PhantomConfig
from connectomake.stage import run


def main(
    *, raw: Path, labels: Path, organelles: Path, skeletons: Path, cfg: PhantomConfig, seed: int = 0, threads: int = 1
) -> None:
    """Make one phantom and write it."""
    from connectomake.phantom.phantom import make_phantom, write_phantom

    phantom = make_phantom(cfg, seed, threads)
    notes = {"seed": seed, "settings": cfg.model_dump(mode="json")}
    write_phantom(phantom, raw.parent, labels.parent, organelles.parent, skeletons, notes)


if __name__ == "__main__":
    run(main)
