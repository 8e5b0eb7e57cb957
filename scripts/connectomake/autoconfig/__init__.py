"""Fit a training preset to the machine at hand, by measuring what fits and how long it takes."""
