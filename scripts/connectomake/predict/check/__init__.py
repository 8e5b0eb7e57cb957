"""Look for what is wrong in a finished prediction: sections, values, blocks and seams."""
