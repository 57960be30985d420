"""One script a submission, and the `alphamill` command."""
