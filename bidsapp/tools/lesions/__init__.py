"""``brainseg lesion``: lesions of images, of folders of images, and of slices as TIFF files."""
