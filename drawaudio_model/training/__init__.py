"""What the training of the denoiser is made of."""
