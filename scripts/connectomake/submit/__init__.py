"""From predictions of crops to a submission for the CellMap Segmentation Challenge, checked and scored here."""
