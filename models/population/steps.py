"""Steps whose network a user can replace."""

from __future__ import annotations

NETWORK_STEPS = {
    "skullstrip": "the brain mask",
    "segmentation": "structures, or labels and tissues of the network's own",
    "lesion": "lesions",
    "hippocampus": "the parts of the hippocampus",
    "registration": "the start of the registration",
}
"""Steps whose network can be replaced, and what it computes."""
