"""A miniature of the CellMap Segmentation Challenge: phantoms laid out, annotated and listed as its data are."""
