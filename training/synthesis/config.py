"""Ranges of the generator, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class GeneratorConfig:
    """Ranges of the generator; angles in degrees, lengths in mm, intensities on a scale of 0-255.

    Defaults are SynthSeg's (Billot et al. 2023, table of hyperparameters) unless noted; a recipe changes
    them under ``generator``, or in a stage for that stage. *Own* marks our own choices.
    """

    rotation: float = 15.0
    """Maximum angle about each axis."""
    scaling: float = 0.2
    """Maximum relative change of size."""
    shearing: float = 0.03
    """Maximum shear; SynthSeg 0.012, FetalSynthSeg (Zalevskyi et al. 2024) 0.02."""
    deformation: float = 4.0
    """Maximum standard deviation of the control points of the velocity, 20 to 60 mm apart."""
    detail: float = 1.2
    """The same for control points about 10 mm apart. Own, after SIAM, which randomizes shape as well."""
    mirror: float = 0.5
    """Probability of a mirror image with swapped sides."""

    contrasts: dict[str, float] = field(
        default_factory=lambda: {"T1w": 0.6, "T2w": 0.1, "FLAIR": 0.1, "PDw": 0.05, "random": 0.15}
    )
    """Share of the draws near each contrast of the source table; ``random`` draws means from U(0, 255). Own:
    with random contrasts alone, training is much slower."""
    class_spread: float = 8.0
    """Standard deviation of the class means about those of the source table, narrow prior. Own."""
    wide: float = 0.3
    """Share of these draws that use the wide prior. Own."""
    wide_spread: float = 25.0
    """Standard deviation of the wide prior. Own."""
    dark_bone: float = 0.0
    """Probability that cortical bone is dark, as in real scans, instead of random. Own; 0 where the skull is
    no target."""
    known_outside: float = 0.0
    """Probability that tissue outside the brain (skin, muscles, veins, marrow) has intensities near those of
    scanners in the contrasts of the source table, instead of random ones. Own; random ones make networks
    robust, known ones are for scores: a vein as thick and as bright as cortex would be no fair case."""
    invert: float = 0.05
    """Probability of an inverted contrast. Own."""
    texture: float = 0.4
    """Maximum share of a class's standard deviation that is spatially smooth instead of white. Own."""

    split: float = 0.5
    """Probability of random spatial subclasses of intensity, where there are no seeds (in the ablation of
    FetalSynthSeg, subclasses matter most)."""
    subclasses: int = 3
    """Maximum number of subclasses of a class; FetalSynthSeg draws 1 to 4 per meta-label."""
    split_spread: float = 12.0
    """Maximum standard deviation of the means of subclasses about the mean of their class. Own."""
    seeds: float = 0.8
    """Share of the draws with subclasses by EM (:mod:`brainseg.training.data.intensity_classes`), for maps
    with seeds."""

    ventricles: float = 0.0
    """Largest displacement (mm) of the walls of the ventricles, inwards or outwards, at most 3
    (:mod:`brainseg.training.synthesis.ventricles`). Own: the maps are of few heads, and the young have
    narrow ventricles."""
    atrophy: float = 0.0
    """Probability of a brain that is smaller than its skull, the gap filled with CSF
    (:mod:`brainseg.training.synthesis.atrophy`). Own."""
    atrophy_scale: tuple[float, float] = (0.86, 1.0)
    """Range of the brain's scale about its center."""
    atrophy_thinning: float = 0.4
    """Probability that the outermost millimeter of its tissue becomes CSF as well."""

    lesions: float = 0.2
    """Probability of pasted lesions, where the source table allows them. Own."""
    lesion_count: int = 14
    """Maximum number of lesions."""
    lesion_radius: tuple[float, float] = (1.2, 6.0)
    """Range of their semi-axes."""

    strip: float = 0.4
    """Probability of skull-stripping."""
    strip_uneven: float = 0.0
    """Maximum standard deviation of the local error of the brain mask."""
    neck: float = 0.0
    """Probability that skull-stripping removes the lower end of the brain, where masks differ. Own."""
    neck_at: tuple[float, float] = (-60.0, -45.0)
    """Height of that cut relative to the center of the brain."""
    deface: float = 0.12
    """Probability of defacing of a head with skull."""
    deface_at: tuple[float, float] = (58.0, -22.0)
    """A point of the defacing plane (anterior, superior) relative to the center of the brain."""
    crop: float = 0.1
    """Probability that the field of view does not cover the head."""
    crop_at: tuple[float, float] = (30.0, 75.0)
    """Distance of its end from the center of the brain."""

    bias: float = 0.7
    """Maximum standard deviation of the logarithm of the bias field."""
    ghost: float = 0.08
    """Probability of ghosts along one axis, as from motion and flow. Own."""
    ghost_strength: float = 0.12
    """Maximum relative intensity of the ghosts."""
    blur: tuple[float, float] = (0.35, 0.75)
    """Standard deviation (voxels) of the blur of every scan, for partial volume. Own."""
    low_resolution: float = 0.4
    """Probability of a lower resolution."""
    slice_thickness: float = 6.0
    """Maximum slice thickness along any axis; SynthSeg 8-9 mm."""
    mp2rage: float = 0.0
    """Probability of a background of noise over the whole range, as in MP2RAGE UNI images, for heads with
    skull. Own; 0 in all shipped recipes, since scans get a dark background before the networks."""
    noise: float = 12.0
    """Maximum standard deviation of the noise; FetalSynthSeg 5-15."""
    gamma: float = 0.4
    """Standard deviation of the logarithm of gamma."""
