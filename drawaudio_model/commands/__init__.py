"""What `drawaudio` does, one file for each group of its commands."""
