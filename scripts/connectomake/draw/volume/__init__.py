"""Pictures of one volume: planes, an overview, neurites."""
