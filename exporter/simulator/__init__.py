"""An Atoms API for demos and tests. It shares nothing with the rest of the package: an independent witness."""
