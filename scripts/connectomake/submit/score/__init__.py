"""The score of a submission, computed here, with the numbers of the challenge's own scorer.

Source of every rule: CellMap Segmentation Challenge toolbox (Janelia, BSD-3) at the commit that names the metric. How
it is computed is our own: slab by slab, from overlaps and surfaces, where the toolbox makes distance maps of volumes.
"""
