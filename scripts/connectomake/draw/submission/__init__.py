"""Pictures of the score of a submission."""
