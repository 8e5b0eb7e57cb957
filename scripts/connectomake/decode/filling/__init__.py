"""Give the voxels without an object to the objects around them."""
