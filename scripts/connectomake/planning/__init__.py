"""What a run will take, on paper: jobs, hours, storage, memory, from settings and headers alone."""
