"""Run a trained network over a whole volume: overlapping windows, blended, block by block."""
