"""What networks learn to predict, made from labels, patch by patch. Nothing in here needs torch."""
