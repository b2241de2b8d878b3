"""What the evaluation and the control benchmark are made of."""
