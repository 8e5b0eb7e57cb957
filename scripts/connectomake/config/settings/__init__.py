"""The settings of every stage, one model each."""
