"""The files of the CellMap Segmentation Challenge: where they lie, and how to read and write them."""
