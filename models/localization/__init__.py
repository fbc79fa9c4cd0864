"""Position and orientation of the head or brain in a scan."""
