"""From the files that people bring to volumes that every stage reads."""
