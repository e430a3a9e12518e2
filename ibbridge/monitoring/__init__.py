"""The process itself: its log, its signals, its descriptors and its memory."""
