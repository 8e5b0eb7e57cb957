"""Pictures of generated volumes."""
