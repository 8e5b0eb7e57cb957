"""What a run makes, where it lies, what it reads and what it asks of a machine: everything that the rules look up.

Knows the settings, and nothing of Snakemake: the rules hand over wildcards, and get paths, plain settings and numbers.
"""
