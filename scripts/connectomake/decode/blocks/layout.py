"""Work out how a volume is decoded in blocks, the same in every job: grid, channels, settings, and where things lie.

- `labels.zarr`: the result; its zarr.json is written last, its ledger says which blocks are relabelled
- `parts/HASH/`: what lies between, for one set of settings, inputs and code; removed in the end
- `parts/HASH/labels.zarr`: ids of each block by itself, uint32, with the ledger of label_blocks
- `parts/HASH/faces/BLOCK.npz`: ids on the faces of a block, sizes, first voxels
- `parts/HASH/ids.npy`: new ids of all of them, by stitch_blocks
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_decoders import DECODERS
from connectomake.decode.channels import Channels
from connectomake.decode.whole import choose_maps
from connectomake.errors import ConfigError
from connectomake.geometry import BlockGrid, Box, to_triple
from connectomake.ledger import hash_settings
from connectomake.volumes.prediction import Prediction
from connectomake.volumes.volume import Volume, open_volume

_HASH_DIGITS = 12


@dataclass(frozen=True)
class Plan:
    """How one volume is decoded in blocks.

    Parameters
    ----------
    affinities
        The store that is read.
    prediction
        What it says that it holds.
    indices, channels
        Those of its channels that the decoder reads, and what they are.
    blocks
        The grid of blocks; a block is one shard of the result.
    cfg
        The settings of the stage.
    settings
        All that decides the result, as plain data.
    labels
        The store that is written.
    """

    affinities: Volume
    prediction: Prediction
    indices: tuple[int, ...]
    channels: Channels
    blocks: BlockGrid
    cfg: DecodeConfig
    settings: dict[str, Any]
    labels: Path

    @property
    def is_exact(self) -> bool:
        """Whether blocks are joined by their edges, which gives what decoding the whole volume gives."""
        return DECODERS[self.cfg.decoder].blocks == "exact"

    @property
    def edge_offset(self) -> int:
        """Where the edges to the next voxels stand; see `affinity_cc3d`."""
        return self.channels.nearest()[1]

    def around(self, block: int, halo_vx: int) -> Box:
        """Return a block with so many voxels around it, as far as the volume goes."""
        return self.blocks[block].grow((halo_vx,) * 3).intersect(Box.of_shape(self.blocks.shape_zyx))

    @property
    def parts(self) -> Path:
        """The folder of what lies between."""
        return self.labels.parent / "parts" / hash_settings(self.settings)[:_HASH_DIGITS]

    @property
    def part_labels(self) -> Path:
        """The store of the ids of each block by itself."""
        return self.parts / "labels.zarr"

    @property
    def table(self) -> Path:
        """The file of new ids."""
        return self.parts / "ids.npy"

    def faces(self, block: int) -> Path:
        """Return the file of a block's faces."""
        return self.parts / "faces" / f"{block}.npz"

    @property
    def layout(self) -> dict[str, Any]:
        """What the stores of labels have in common: the arguments of `create_store`, without the type."""
        return {
            "shape": self.blocks.shape_zyx,
            "chunk_zyx": self.cfg.chunk_zyx_vx,
            "shard_zyx": self.blocks.block_zyx,
            "voxel_size_zyx_nm": self.affinities.voxel_size_zyx_nm,
            "offset_zyx_nm": self.affinities.offset_zyx_nm,
        }


def plan_blocks(affinities: Path, labels: Path, cfg: DecodeConfig, *, code: str = "") -> Plan:
    """Lay the grid over a volume and fix the settings.

    Parameters
    ----------
    affinities
        A finished store of affinities.
    labels
        The store that will be written.
    cfg
        Its `block_zyx_vx` is the grid.
    code
        A hash of the code that decodes: what other code left behind is not used.

    Raises
    ------
    ConfigError
        There are no blocks in the settings.
    DataError
        The store does not hold the affinities along z, y and x, or does not say so.
    """
    if cfg.block_zyx_vx is None:
        raise ConfigError("decode.block_zyx_vx is null: there are no blocks", hint="set it, or run decode_affinities")
    prediction = Prediction.read(affinities)
    indices, channels = choose_maps(prediction, cfg)
    volume = open_volume(affinities)
    settings = {
        "affinities": prediction.settings_hash,
        "shape_zyx": volume.shape_zyx,
        "decode": cfg.model_dump(mode="json", exclude={*cfg.effort, "tune"}),
        "code": code,
    }
    blocks = BlockGrid(volume.shape_zyx, to_triple(cfg.block_zyx_vx))
    return Plan(volume, prediction, indices, channels, blocks, cfg, settings, labels)
