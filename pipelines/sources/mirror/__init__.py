"""Media that people have of a list already: folders and tars, found by the clips' names."""
