"""Crops of the CellMap challenge as volumes: their images and ground truth, read by physical coordinates."""
