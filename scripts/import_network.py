"""Turn a network that was made elsewhere into a checkpoint that predicts like one of Connectomake's own.

in   network       TorchScript, an exported program (torch.export), the folder of a MONAI bundle, or weights alone
     description   YAML: channels, voxel size, normalisation and what else the files do not tell; see config/README.md
out  checkpoint    one self-describing file, for predict.checkpoints

By hand: `python scripts/import_network.py --network model.pt --description net.yaml --checkpoint model.ckpt`.
"""

from pathlib import Path

from connectomake.stage import run


def main(*, network: Path, description: Path, checkpoint: Path) -> None:
    """Read the network without running code of its files, try it on one window, and write it."""
    from connectomake.models.importing import import_network

    import_network(network, description, checkpoint)


if __name__ == "__main__":
    run(main)
