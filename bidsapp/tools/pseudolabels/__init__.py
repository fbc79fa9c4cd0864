"""``brainseg pseudolabel``: labels of an atlas on scans without labels."""
