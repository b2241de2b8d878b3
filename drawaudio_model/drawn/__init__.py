"""Curves, masks and sounds as a person draws them, for training and measuring."""
