"""The commands of `drawaudio`, one file for each group."""
