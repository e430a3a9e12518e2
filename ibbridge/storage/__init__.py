"""What outlives the process: the layout of its file, and what is known of order keys."""
