"""Pictures of a prediction and of what was found in it."""
