"""The codec and the simulator against what others say: golden vectors, tables, captures, clients nobody here wrote."""
