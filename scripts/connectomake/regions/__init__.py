"""Which part of a volume is meant: boxes, masks, crops."""
