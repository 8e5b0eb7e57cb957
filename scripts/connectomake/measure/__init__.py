"""Compare segmentations with skeletons and with truth labels."""
