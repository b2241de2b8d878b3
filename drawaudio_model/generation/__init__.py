"""What the pipeline is made of: from instructions to ranked sounds."""
