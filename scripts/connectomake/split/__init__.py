"""Which voxels are learnt from, and which are kept apart."""
