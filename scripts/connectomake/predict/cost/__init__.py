"""What a prediction takes: operations, memory, time."""
