"""Connected components of affinities: kernels."""
