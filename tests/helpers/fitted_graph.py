"""Build sMRIPrep's own anatomical workflow on a folder of derivatives; prints its nodes as JSON.

A program of its own: templates have to be in place before niworkflows is imported.
``python fitted_graph.py BIDS DERIVATIVES SUBJECT SESSION|- SPACE ...``
"""

import json
import os
import sys
import tempfile
from pathlib import Path


def local_templates(home: Path, spaces: list[str]) -> None:
    """A TemplateFlow home that knows the spaces and nothing else."""
    for space in spaces:
        name, _, cohort = space.partition(":cohort-")
        folder = home / f"tpl-{name}"
        inner = folder / f"cohort-{cohort}" if cohort else folder
        inner.mkdir(parents=True, exist_ok=True)
        middle = f"_cohort-{cohort}" if cohort else ""
        (inner / f"tpl-{name}{middle}_res-1_T1w.nii.gz").touch()
        content = {"Identifier": name, "Name": name}
        if cohort:
            content["cohort"] = {cohort: {"age": [0, 1]}}
        (folder / "template_description.json").write_text(json.dumps(content))


def main(bids: str, derivatives: str, subject: str, session: str, *spaces: str) -> None:
    home = Path(tempfile.mkdtemp())
    local_templates(home, ["MNI152NLin2009cAsym", "OASIS30ANTs", *spaces])
    os.environ |= {"TEMPLATEFLOW_HOME": str(home), "NIPYPE_NO_ET": "1", "NO_ET": "1", "MPLBACKEND": "Agg"}
    from niworkflows.utils.spaces import Reference, SpatialReferences
    from smriprep.utils.bids import collect_derivatives
    from smriprep.workflows.anatomical import init_anat_fit_wf

    references = SpatialReferences([Reference.from_string(space)[0] for space in spaces])
    asked = references.get_spaces(nonstandard=False, dim=(3,))
    found = collect_derivatives(
        derivatives, subject, [*asked, "fsnative"], session_id=None if session == "-" else session
    )
    workflow = init_anat_fit_wf(
        bids_root=bids,
        output_dir=tempfile.mkdtemp(),
        freesurfer=False,
        hires=False,
        longitudinal=False,
        msm_sulc=False,
        t1w=[str(path) for path in sorted(Path(bids).rglob("*_T1w.nii.gz"))],
        t2w=[],
        flair=[],
        skull_strip_mode="force",
        skull_strip_template=Reference("OASIS30ANTs"),
        spaces=references,
        precomputed=found,
        omp_nthreads=1,
    )
    print(json.dumps({"found": found, "nodes": sorted(workflow.list_node_names()), "asked": asked}))


if __name__ == "__main__":
    main(*sys.argv[1:])
