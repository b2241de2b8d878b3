"""Draw an Audio: sound for a silent video, steered by text, drawn masks and a drawn loudness curve (arXiv 2409.06135)."""
