"""Hostile bytes for the codec, chosen by what they reach: `make fuzz`."""
