"""Optional steps of the processing (``--steps``)."""

from __future__ import annotations

STEPS = {
    "coregistration": (True, "other contrasts of the session, co-registered to the reference image"),
    "posteriors": (True, "probability maps of gray matter, white matter and CSF"),
    "template-outputs": (True, "image, brain mask and segmentation in template space"),
    "parcels": (True, "parcels of the cortex by Desikan and Killiany (adults)"),
    "lesion": (False, "lesions in the FLAIR image, or T2w with --force (adults; for research only)"),
    "corpuscallosum": (False, "corpus callosum as a structure of its own (fetal)"),
    "hippocampus": (False, "anterior and posterior hippocampus (adults, T1w)"),
    "jacobian": (False, "Jacobian determinant of the registration to the template"),
    "vbm": (False, "gray and white matter in template space, modulated by the change of volume"),
}
"""Optional steps: whether they are on by default, and their result."""
