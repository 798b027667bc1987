"""The bare things that figures stand beside: the same libraries, doing nothing else."""
