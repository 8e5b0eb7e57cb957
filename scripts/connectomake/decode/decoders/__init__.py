"""The decoders that settings can name, one file each."""
