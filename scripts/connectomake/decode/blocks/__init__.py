"""Decode in blocks: label each, stitch the faces, write the final labels."""
