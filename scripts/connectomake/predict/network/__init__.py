"""What predicts: the networks, their turned copies, and the recipe that a checkpoint names."""
