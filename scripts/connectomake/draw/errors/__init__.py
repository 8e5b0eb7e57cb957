"""Pictures and a table of the worst errors."""
