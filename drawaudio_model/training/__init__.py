"""Parts of the denoiser's training."""
