"""Registration of images and transfer of labels."""
