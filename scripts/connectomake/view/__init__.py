"""Look at results in neuroglancer: what to show, the links that show it, and the server that the links lead to."""
