"""Which part of a volume is predicted and measured: chosen by settings, crops and masks."""
