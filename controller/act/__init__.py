"""What is done about it: the only writers of pods, processes and decisions."""
