"""A finished dataset: its card, its check and its copy without recordings."""
