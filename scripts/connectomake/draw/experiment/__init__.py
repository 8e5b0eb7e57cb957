"""Pictures and tables over the variants of an experiment."""
