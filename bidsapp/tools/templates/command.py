"""``brainseg templates``: list the templates for ``--output-spaces``, and fetch those of TemplateFlow."""

from __future__ import annotations

import argparse
from dataclasses import replace

from ....models.errors import UsageError
from ....models.parcellation import names
from ....models.templates import catalog, spaces
from . import client


def run(args: argparse.Namespace) -> int:
    """List templates, or fetch some; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg templates``.

    Raises
    ------
    UsageError
        If a template is unknown.
    MissingFileError
        If it cannot be fetched.
    """
    if args.action == "get":
        return _get(args.name, args.atlas or [])
    print("\n".join(_variants(args.name) if args.name else _all()))
    return 0


def _all() -> list[str]:
    """Return one line for each template: those with the program, then TemplateFlow's."""
    bundled = [*catalog.ADULT, *catalog.names()]
    root = spaces.home()
    lines = [f"{name:<26} with the program" for name in bundled]
    for name in client.names():
        if name not in bundled:
            folder = root / f"tpl-{name}"
            here = any(path.stat().st_size for path in folder.rglob("*_T[12]w.nii.gz"))
            lines.append(f"{name:<26} {'on this machine' if here else 'TemplateFlow'}")
    return [*lines, "", f"TemplateFlow's folder: {root} (TEMPLATEFLOW_HOME)"]


def _variants(names: list[str]) -> list[str]:
    """Return the cohorts and resolutions of templates as the user writes them."""
    lines = []
    for name in names:
        if name in catalog.ADULT:
            sizes = spaces.RESOLUTIONS if name == catalog.DEFAULT else spaces.RESOLUTIONS[:1]
            lines.append(f"{name}  with the program  {' '.join(f'res-{size}' for size in sizes)}")
            about = catalog.card(name).get("about", {})
            lines += [f"  {about[key]}" for key in ("license", "license_text") if key in about]
        elif name in catalog.names():
            ages = []
            for family, stem in sorted(catalog.families(name).items()):
                weeks = catalog.card(stem)["weeks"]
                ages.append(f"cohort-{weeks[0]:g}{family} to cohort-{weeks[-1]:g}{family}")
            lines.append(f"{name}  with the program  {', '.join(ages)}")
        elif name in client.names():
            found = client.variants(name)
            words = [f"{key}-{value}" for key, values in found.items() for value in values]
            lines.append(f"{name}  TemplateFlow  {' '.join(words)}".rstrip())
        else:
            raise UsageError(None, f"there is no template {name}", "See brainseg templates list")
    return lines


def _get(texts: list[str], atlases: list[str]) -> int:
    """Fetch spaces, each ``NAME[:cohort-N][:res-N]``, and atlases in them."""
    if not texts:
        raise UsageError(
            None, "no template was named", "Usage: brainseg templates get NAME[:cohort-N][:res-N]"
        )
    for space in [space for text in texts for space in spaces.expand(text)]:
        if space.path is not None:
            raise UsageError(None, f"{space} is a file of yours", "Give a name of TemplateFlow")
        for text in atlases:
            atlas = replace(names.parse(text), space=space.label)
            print("\n".join(map(str, client.get_atlas(atlas, space))))
        if space.name in spaces.embedded():
            print(f"{space}: it comes with the program")
            continue
        for path in client.get(space):
            print(path)
    return 0
