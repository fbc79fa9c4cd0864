"""Classes of intensities, fitted to a scan."""
