"""Documents, examples and schemas against the code."""
