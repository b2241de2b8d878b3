"""Parts of the pipeline, from instructions to ranked sounds."""
