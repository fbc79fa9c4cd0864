"""What the generator draws from: every range with its source."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class GeneratorConfig:
    """Ranges of the draws; angles in degrees, lengths in mm, intensities on a scale of 0-255.

    Defaults are SynthSeg's (Billot et al. 2023, table of hyperparameters) unless noted; a recipe changes any
    of them under ``generator``, for one stage in the stage itself. *Own* marks choices made here.
    """

    rotation: float = 15.0
    """Largest angle about each axis."""
    scaling: float = 0.2
    """Largest change of size, as a share."""
    shearing: float = 0.03
    """Largest shear; SynthSeg 0.012, FetalSynthSeg (Zalevskyi et al. 2024) 0.02."""
    deformation: float = 4.0
    """Largest standard deviation of the velocity's control points, 20 to 60 mm apart."""
    detail: float = 1.2
    """The same for control points about 10 mm apart. Own: narrow ventricles of the young, wide ones of the
    old, from the same maps (SIAM's lesson that shape is to be randomised as well as intensity)."""
    mirror: float = 0.5
    """Probability of a mirror image; its sides are swapped."""

    contrasts: dict[str, float] = field(
        default_factory=lambda: {"T1w": 0.6, "T2w": 0.1, "FLAIR": 0.1, "PDw": 0.05, "random": 0.15}
    )
    """Share of the draws near each contrast of the source table; ``random`` has means from U(0, 255). Own,
    after a trial in which purely random contrasts learned far more slowly on little compute."""
    class_spread: float = 8.0
    """Narrow prior: standard deviation of the class means about those of the source table. Own."""
    wide: float = 0.3
    """Share of those draws from the wide prior instead. Own."""
    wide_spread: float = 25.0
    """Its standard deviation. Own."""
    invert: float = 0.05
    """Probability that a known contrast is turned upside down. Own."""
    texture: float = 0.4
    """Largest share of a class's deviation that is smooth in space instead of white. Own."""

    split: float = 0.5
    """Probability that classes are split in space into subclasses of intensity: the published ablation of
    FetalSynthSeg names subclasses as what matters most; random splits where no image gives seeds."""
    subclasses: int = 3
    """Most subclasses of a class; FetalSynthSeg draws 1 to 4 of each meta-label."""
    split_spread: float = 12.0
    """Standard deviation of the subclasses' means about their class's, largest. Own."""
    seeds: float = 0.8
    """Share of the draws with subclasses by EM (:mod:`brainseg.training.data.intensity_classes`), for maps
    that have them."""

    lesions: float = 0.2
    """Probability that lesions are pasted where the source table allows them. Own."""
    lesion_count: int = 14
    """Most of them."""
    lesion_radius: tuple[float, float] = (1.2, 6.0)
    """Their half axes."""

    strip: float = 0.4
    """Probability that what lies outside the brain is removed."""
    strip_uneven: float = 0.0
    """Largest standard deviation (mm) by which the surface of what is left varies from place to place."""
    neck: float = 0.0
    """Probability that what is removed takes the brain's lower end along: masks differ most there. Own."""
    neck_at: tuple[float, float] = (-60.0, -45.0)
    """Height (from the brain's middle) of that cut."""
    deface: float = 0.12
    """Probability that the face is removed from a head with skull."""
    deface_at: tuple[float, float] = (58.0, -22.0)
    """A point (to the front, up; from the brain's middle) in the plane that cuts the face off."""
    crop: float = 0.1
    """Probability that the field of view ends within the head."""
    crop_at: tuple[float, float] = (30.0, 75.0)
    """How far from the brain's middle it then ends."""

    bias: float = 0.7
    """Largest standard deviation of the bias field's logarithm."""
    ghost: float = 0.08
    """Probability of ghosts along one axis. Own, as motion and flow make them."""
    ghost_strength: float = 0.12
    """Their strength at most."""
    blur: tuple[float, float] = (0.35, 0.75)
    """Standard deviation (voxels) of the blur that every scan has: labels have sharp borders, scans partial
    volume. Own."""
    low_resolution: float = 0.4
    """Probability of a lower resolution."""
    slice_thickness: float = 6.0
    """Thickest slice, along any axis; SynthSeg goes to 8-9 mm."""
    noise: float = 12.0
    """Largest standard deviation of the noise; FetalSynthSeg 5-15."""
    gamma: float = 0.4
    """Standard deviation of the logarithm of gamma."""
