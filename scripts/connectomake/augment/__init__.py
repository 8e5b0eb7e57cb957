"""Random changes of training patches, drawn from a generator that the caller seeds. Nothing in here needs torch."""
