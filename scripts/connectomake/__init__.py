"""Connectomake's library: arrays in, arrays out; Snakemake decides what runs."""

__version__ = "0.1.0"
