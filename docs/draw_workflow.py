"""Draw the workflow of an adult participant for the documentation: ``python docs/draw_workflow.py``.

Needs ``dot`` of Graphviz. The image need not exist: the graph is only built.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from brainseg.models.population import populations
from brainseg.workflows.common.parameters import ParticipantInputs, ProcessingOptions
from brainseg.workflows.participant import init_participant_wf

PICTURE = Path(__file__).parent / "images" / "workflow.svg"


def draw(picture: Path = PICTURE) -> Path:
    """Draw the workflow of a T1w image with default options.

    Parameters
    ----------
    picture : Path
        SVG file to write.

    Returns
    -------
    Path
        The SVG file.
    """
    inputs = ParticipantInputs(
        source_file="/bids/sub-01/anat/sub-01_T1w.nii.gz", bids_root="/bids", out_dir="/out", key="sub-01"
    )
    options = ProcessingOptions(atlases=(populations.load("adult").parcellation,))
    workflow = init_participant_wf(name="sub_01_wf", inputs=inputs, options=options)
    with tempfile.TemporaryDirectory() as folder:
        dot = Path(folder) / "graph.dot"
        workflow.write_graph(dotfilename=str(dot), graph2use="colored", format="svg", simple_form=True)
        shutil.copyfile(dot.with_suffix(".svg"), picture)
    return picture


if __name__ == "__main__":
    print(draw())
