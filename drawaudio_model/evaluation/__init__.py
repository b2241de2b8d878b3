"""Parts of the evaluation and the control benchmark."""
