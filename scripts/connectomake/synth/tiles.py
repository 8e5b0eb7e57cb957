"""Cut batches of volumes into patches and join them again, pad and crop, and decode latents tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod

import torch

from connectomake.errors import ModelError

Sizes = Sequence[int]
SIGMA = 0.125  # of a tile's Gaussian weight, as a share of its side; that of nnU-Net


def tile(x: torch.Tensor, side_zyx: Sizes) -> torch.Tensor:
    """Cut volumes into blocks that do not overlap, in the order z, y, x.

    Parameters
    ----------
    x
        (N, C, Z, Y, X); each side a multiple of that of a block.
    side_zyx
        Sides of a block (voxels).

    Returns
    -------
    Tensor
        (N * blocks, C, *side_zyx), all blocks of the first volume first.

    Raises
    ------
    ModelError
        A side is no multiple.
    """
    n, channels, *shape = x.shape
    if any(size % side for size, side in zip(shape, side_zyx, strict=True)):
        raise ModelError(
            "a volume cannot be cut into patches",
            expected=f"sides that are multiples of {list(side_zyx)} voxels",
            got=shape,
            hint="pad it with pad_to_multiple first",
        )
    (a, p), (b, q), (c, r) = ((size // side, side) for size, side in zip(shape, side_zyx, strict=True))
    parts = x.reshape(n, channels, a, p, b, q, c, r).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return parts.reshape(n * a * b * c, channels, p, q, r)


def untile(tiles: torch.Tensor, grid_zyx: Sizes) -> torch.Tensor:
    """Join what `tile` cut.

    Parameters
    ----------
    tiles
        (N * blocks, C, z, y, x).
    grid_zyx
        Blocks along each axis.

    Returns
    -------
    Tensor
        (N, C, Z, Y, X).
    """
    a, b, c = grid_zyx
    count, channels, p, q, r = tiles.shape
    parts = tiles.reshape(count // prod(grid_zyx), a, b, c, channels, p, q, r).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return parts.reshape(len(parts), channels, a * p, b * q, c * r)


def pad_to_multiple(x: torch.Tensor, multiple_zyx: Sizes) -> torch.Tensor:
    """Lengthen the ends of the last three axes to multiples, by reflection; `crop_to` takes it off again.

    Parameters
    ----------
    x
        (..., Z, Y, X) of any type.
    multiple_zyx
        What each side becomes a multiple of (voxels).

    Returns
    -------
    Tensor
        The voxels mirrored at the last one, to and fro where the pad is longer than the side.
    """
    for axis, multiple in zip((-3, -2, -1), multiple_zyx, strict=True):
        side = x.shape[axis]
        padded = -(-side // multiple) * multiple
        if padded > side:
            there_and_back = torch.arange(padded, device=x.device) % max(2 * side - 2, 1)
            x = x.index_select(axis, torch.minimum(there_and_back, (2 * side - 2 - there_and_back).abs()))
    return x


def crop_to(x: torch.Tensor, shape_zyx: Sizes) -> torch.Tensor:
    """Return the first voxels of the last three axes, (..., *shape_zyx)."""
    z, y, x_side = shape_zyx
    return x[..., :z, :y, :x_side]


def decode_in_tiles(
    decode: Callable[[torch.Tensor], torch.Tensor],
    z: torch.Tensor,
    ratio_zyx: Sizes,
    tile_zyx_vx: Sizes | None,
    overlap: float,
) -> torch.Tensor:
    """Decode latents in tiles that overlap and are blended by Gaussian weights.

    Memory is that of decoding one tile, and of the volume.

    Parameters
    ----------
    decode
        From latents (N, E, z, y, x) to (N, C, Z, Y, X), `ratio_zyx` times as long.
    z
        Latents (N, E, z, y, x).
    ratio_zyx
        Voxels per latent along each axis.
    tile_zyx_vx
        Part that is decoded at once (voxels), rounded up to whole latents; None = all of it.
    overlap
        Share of a tile that at least overlaps the next, in [0, 1).

    Returns
    -------
    Tensor
        (N, C, Z, Y, X) float32.

    Notes
    -----
    Tiles and the whole are not the same where `decode` looks at all that it is given, as the norms and the attention of
    the autoencoder's decoder do: see `PatchVolumeAutoencoder.decode_in_tiles`. Blending leaves no step at borders.

    The weights of an axis sum to 1 at each voxel, so their products do: no second volume counts them. MONAI's
    SlidingWindowInferer widens its weights by whole latents, which leaves steps between them.
    """
    shape = z.shape[2:]
    whole = [n * r for n, r in zip(shape, ratio_zyx, strict=True)]
    sides = [min(n, -(-t // r)) for n, t, r in zip(shape, tile_zyx_vx or whole, ratio_zyx, strict=True)]
    if sides == list(shape):
        return decode(z).float()
    axes = [_weigh(n, s, r, overlap) for n, s, r in zip(shape, sides, ratio_zyx, strict=True)]
    volume: torch.Tensor | None = None
    for parts in product(*axes):
        where = tuple(slice(start, start + side) for (start, _), side in zip(parts, sides, strict=True))
        decoded = decode(z[..., where[0], where[1], where[2]]).float()
        if volume is None:
            volume = decoded.new_zeros(*decoded.shape[:2], *whole)
        for axis, (_, weights) in enumerate(parts):
            decoded = decoded * weights.to(decoded).view([-1 if axis == i else 1 for i in range(3)])
        to_z, to_y, to_x = (slice(w.start * r, w.stop * r) for w, r in zip(where, ratio_zyx, strict=True))
        volume[..., to_z, to_y, to_x] += decoded
    return volume  # type: ignore[return-value]  # there is at least one tile


def _weigh(length: int, side: int, ratio: int, overlap: float) -> list[tuple[int, torch.Tensor]]:
    """Return where tiles of an axis start (latents) and the weights of their voxels, which sum to 1 at each voxel."""
    step = max(1, int(side * (1 - overlap)))
    count = -(-(length - side) // step) + 1
    starts = [round(k * (length - side) / max(count - 1, 1)) for k in range(count)]
    places = (torch.arange(side * ratio) + 0.5) / (side * ratio) - 0.5
    bell = torch.exp(-0.5 * (places / SIGMA) ** 2)
    total = torch.zeros(length * ratio)
    for start in starts:
        total[start * ratio : (start + side) * ratio] += bell
    return [(start, bell / total[start * ratio : (start + side) * ratio]) for start in starts]
