"""Where windows lie, in which order they are predicted, and how they are added up."""
