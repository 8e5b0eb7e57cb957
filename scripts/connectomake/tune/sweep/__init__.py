"""All thresholds of a decoder from one decoding."""
