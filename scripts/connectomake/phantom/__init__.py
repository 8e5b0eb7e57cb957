"""Volumes that are made, not imaged: a phantom of neuropil with exact truth."""
