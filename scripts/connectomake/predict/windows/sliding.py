"""Run networks over the windows of a volume and blend what they say, block by block.

The result does not depend on the blocks. Each window is computed from the same voxels in a call of its own, and each
voxel's sum adds its windows in the order of their numbers, in float32. Measured with torch 2.13: on a CPU a window's
output depends on its neighbours in the batch (in the last bits), so a CPU takes one window at a time; it also depends
on the number of threads, so jobs of one volume should have equally many.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch

from connectomake.errors import ModelError
from connectomake.geometry import Box
from connectomake.models.device import is_want_of_memory
from connectomake.predict.network.evaluate import Ensemble
from connectomake.predict.windows.grid import WindowGrid, blending_weights
from connectomake.predict.windows.sums import Sums, new_array

log = logging.getLogger(__name__)

SUMS_SHARE = 0.5  # of a GPU's free memory that sums may take; the rest is the network's


class SlidingWindow:
    """What predicts, and the grid of windows of one volume that it is run over.

    Parameters
    ----------
    evaluate
        From raw windows to values.
    grid
        The volume's windows.
    batch
        Windows per call. Calls are all of one shape: the last one of a block is filled up. Halved, with a warning,
        when the GPU's memory does not suffice.
    """

    def __init__(self, evaluate: Ensemble, grid: WindowGrid, *, batch: int = 1) -> None:
        self.evaluate, self.grid, self.batch = evaluate, grid, batch
        self.recipe, self.device = evaluate.recipe, evaluate.device
        self._weights = torch.from_numpy(blending_weights(grid.window_zyx, self.recipe.blending)).to(self.device)
        self._sums_on: torch.device | None = None

    def predict(
        self, raw: np.ndarray, at: Box, core: Box, on_window: Callable[[], object] = lambda: None
    ) -> np.ndarray:
        """Compute the blended values of a box by itself.

        Parameters
        ----------
        raw
            (C, Z, Y, X) of any real type, the voxels of `at`; not modified.
        at
            The box that `raw` covers: at least ``grid.hull(core)``.
        core
            The box.
        on_window
            Called after each window.

        Returns
        -------
        np.ndarray
            (channels, Z, Y, X) over `core`, as `Recipe.store` gives them.

        Raises
        ------
        ModelError
            The network's output has another shape than it should, or holds NaN.
        torch.OutOfMemoryError
            The GPU's memory does not suffice for the block and one window.
        """
        sums = self.open_sums(core)
        self.add_windows(sums, self.load(raw), at, self.grid.touching(core), on_window)
        return self.finish(sums, core)

    def load(self, raw: np.ndarray) -> torch.Tensor:
        """Bring raw voxels into a form that is quickly copied to the device; any thread may do it."""
        source = as_torch_can(raw)
        if self.device.type == "cuda":
            return torch.from_numpy(source).pin_memory()
        kept = new_array(source.shape, source.dtype)
        kept[...] = source
        return torch.from_numpy(kept)

    def open_sums(self, box: Box, above: Sums | None = None) -> Sums:
        """Begin the sums of a box, or go on from those of the block above."""
        if self._sums_on is None:
            self._sums_on = self._choose_place(box)
        return Sums(box, len(self.recipe.channels), self._sums_on, above)

    @torch.inference_mode()
    def add_windows(
        self,
        sums: Sums,
        source: torch.Tensor,
        at: Box,
        numbers: Sequence[int] | np.ndarray,
        on_window: Callable[[], object] = lambda: None,
    ) -> None:
        """Predict windows and add them to sums.

        Parameters
        ----------
        sums
            Where they are added.
        source
            What `load` gave of the voxels of `at`.
        at
            The box that `source` covers.
        numbers
            The windows' numbers, ascending.
        on_window
            Called after each window.
        """
        source = source.to(self.device, non_blocking=True)
        windows = [self.grid[int(number)] for number in numbers]
        position = 0
        # The outer context keeps the weights that the inner ones, of each call, turn into bfloat16.
        with torch.autocast(self.device.type, enabled=False):
            while position < len(windows):
                group = windows[position : position + self.batch]
                values = self._try(torch.stack([source[:, *window.within(at).slices] for window in group]))
                if values is None:
                    continue
                for window, sample in zip(group, values, strict=False):
                    sums.add(sample, self._weights, window)
                    on_window()
                position += len(group)

    @torch.inference_mode()
    def finish(self, sums: Sums, core: Box, wanted: np.ndarray | None = None) -> np.ndarray:
        """Turn the sums of a block, which are used up, into what is stored.

        Parameters
        ----------
        sums
            All windows were added to them that reach into the wanted voxels of `core`.
        core
            The block.
        wanted
            (Z, Y, X) bool over `core`: the rest becomes 0. None = all.

        Returns
        -------
        np.ndarray
            (channels, Z, Y, X) over `core`, as `Recipe.store` gives them.

        Raises
        ------
        ModelError
            The network gave NaN.
        """
        part = sums.box.intersect(core)
        values = sums.blend(part)
        if bool(torch.isnan(values.sum())):
            raise ModelError("the network's output holds NaN", hint=self.evaluate.explain_nan())
        stored = self.recipe.store(values)
        here = part.within(core).slices
        if wanted is not None:
            np.copyto(stored, 0, where=~wanted[here])
        if part == core:
            return stored
        whole = new_array((len(stored), *core.shape_zyx), stored.dtype)
        whole[:, *here] = stored
        return whole

    def _choose_place(self, box: Box) -> torch.device:
        """Put the sums beside the network, or, where they take too much of its GPU's memory, into the host's."""
        if self.device.type != "cuda":
            return self.device
        needed = 4 * (len(self.recipe.channels) + 1) * box.size
        free, _ = torch.cuda.mem_get_info(self.device)
        if needed <= SUMS_SHARE * free:
            return self.device
        log.info("sums of %.1f GB are kept in the host's memory: the GPU has %.1f GB free", needed / 1e9, free / 1e9)
        return torch.device("cpu")

    def _try(self, windows: torch.Tensor) -> torch.Tensor | None:
        """Predict a batch; give nothing, and halve the batch, where the GPU's memory does not suffice."""
        missing = self.batch - len(windows)
        if missing > 0:
            windows = torch.cat([windows, windows[-1:].expand(missing, -1, -1, -1, -1)])
        try:
            return self.evaluate(windows)
        except RuntimeError as error:
            if self.batch == 1 or not is_want_of_memory(error):
                raise
        self.batch //= 2
        torch.cuda.empty_cache()
        log.warning("the GPU's memory does not suffice; going on with %d windows at once (predict.batch)", self.batch)
        return None


def as_torch_can(array: np.ndarray) -> np.ndarray:
    """Return an array in a type that torch computes with: small integers and floats stay, others become float32."""
    kept = (np.uint8, np.int8, np.int16, np.float16, np.float32)
    if not array.dtype.isnative or array.dtype.type not in kept:
        return array.astype(np.float32)
    return np.require(array, requirements=["C", "W"])
