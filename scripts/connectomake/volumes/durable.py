"""A folder that Zarr writes to: what was written survives a power cut, and a full disk is explained."""

from __future__ import annotations

import asyncio
from pathlib import Path

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from connectomake.files import explain_write_failure, sync_to_disk


class DurableStore(LocalStore):
    """Zarr's own `LocalStore`, which writes by temporary file and rename, with two things added.

    A ledger that says "this block is done" is synced to disk; so the shard must be synced before it. And what the
    operating system refuses becomes a `DataError` with the path and the free space.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file, whole or not at all, and wait until it is on disk."""
        path = Path(self.root) / key
        with explain_write_failure(path):
            await super().set(key, value)
            await asyncio.to_thread(sync_to_disk, path)
            await asyncio.to_thread(sync_to_disk, path.parent)
