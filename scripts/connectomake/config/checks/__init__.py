"""What is checked of a variant before anything runs."""
