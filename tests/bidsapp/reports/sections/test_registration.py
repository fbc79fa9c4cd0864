"""Registration on a participant's page: the outline of the template."""

from scipy import ndimage

from brainseg.bidsapp.reports.sections import registration
from brainseg.models.templates import spaces


def test_the_outline_of_a_template_by_age_is_that_of_its_brain_alone():
    _, mask = registration._template_scans(spaces.parse("BrainsegFetal:cohort-24"))
    assert ndimage.label(mask.data)[1] == 1
    assert not mask.data[0].any() and not mask.data[:, -1].any()
