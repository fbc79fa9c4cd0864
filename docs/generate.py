"""Pages generated from the code: command line, networks, label tables, populations, outputs, API."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import pkgutil
import tomllib
from pathlib import Path

from brainseg.bidsapp.cli import bids, main
from brainseg.bidsapp.cli.parser import invocation
from brainseg.models.data import FOLDER, model_files
from brainseg.models.io import outputs
from brainseg.models.networks import zoo
from brainseg.models.population import labels

LAYERS = ("bidsapp", "workflows", "interfaces", "models", "training")


def write(folder: Path) -> None:
    """Write the pages; unchanged files are not written again, so that Sphinx does not read them again."""
    folder.mkdir(exist_ok=True)
    pages = {"command-line.md": command_line(), "networks.md": networks(), "labels.md": label_tables()}
    pages |= {"populations.md": populations(), "derivatives.md": derivatives()}
    pages |= {"label-files.md": label_files()}
    pages |= api()
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def api() -> dict[str, str]:
    """Return the pages of the API reference, one for each sub-package, by file name."""
    pages = {}
    for top in LAYERS:
        package = importlib.import_module(f"brainseg.{top}")
        modules = [m.name for m in pkgutil.walk_packages(package.__path__, f"brainseg.{top}.")]
        groups: dict[str, list[str]] = {}
        for name in sorted(m for m in modules if not m.endswith("__main__")):
            parts = name.split(".")
            groups.setdefault(".".join(parts[: 3 if len(parts) > 3 else 2]), []).append(name)
        for group, members in groups.items():
            lines = [f"# {group}", ""]
            for member in members:
                lines += [f"## {member}", "", "```{eval-rst}", f".. automodule:: {member}", "   :members:"]
                lines += ["```", ""]
            pages[f"api/{group}.md"] = "\n".join(lines)
    names = [name.removeprefix("api/").removesuffix(".md") for name in pages]
    index = ["# API reference", "", "```{toctree}", ":maxdepth: 1", "", *names, "```", ""]
    return pages | {"api/index.md": "\n".join(index)}


def command_line() -> str:
    """Return the arguments of ``brainseg-bids`` by group, and the help of every ``brainseg`` command."""
    parser = bids.parser()
    lines = ["# Command line", "", "```bash", str(parser.usage), "```", "", str(parser.description), ""]
    lines += ["```text", parser.examples.rstrip(), "```", ""]
    for title, actions in parser.sections.items():
        lines += [f"## {title.capitalize()}", ""]
        for action in actions:
            lines += [f"`{invocation(action)}`", f": {_escaped(_help(action))}", ""]
    lines += ["## Former names", "", "These names of options are still accepted.", ""]
    for former, present in parser.former.items():
        lines += [f"`{former}`", f": use `{present}`", ""]
    lines += ["## Names in other BIDS Apps", ""]
    lines += ["They are accepted too, with `_` or `-`; what changes nothing here is reported.", ""]
    for name, present in parser.elsewhere.items():
        lines += [f"`{name}`", f": as `{present}`" if present else ": not needed", ""]
    lines += ["## Exit codes", "", *_exit_codes(str(parser.epilog)), ""]
    lines += [
        "## Single files: brainseg",
        "",
        "The same code without BIDS, and commands that train and evaluate networks.",
        "",
    ]
    for command in main.COMMANDS:
        lines += [f"### brainseg {command}", "", "```text", help_of(command), "```", ""]
    return "\n".join(lines)


def help_of(command: str) -> str:
    """Return the output of ``brainseg COMMAND --help``."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main.main([*command.split(), "--help"])
    return said.getvalue().rstrip()


def networks() -> str:
    """Return the cards of the networks in the package."""
    folder = FOLDER / "weights"
    lines = []
    for path in sorted(folder.glob("*.safetensors")):
        card = zoo.read_card(path.stem)
        rows = [
            ("Architecture", card["architecture"]["class"]),
            ("Label table", card.get("label_table")),
            ("Voxel size", model_files.voxels(card)),
            ("File size", f"{path.stat().st_size / 1e6:.1f} MB"),
            ("Training data", card.get("training_data")),
            ("License", card.get("license")),
            ("Atlas", card.get("atlas")),
            ("Recipe", f"{card.get('recipe')}, SHA-256 {str(card.get('recipe_sha256'))[:12]}…"),
            ("Steps", card.get("steps")),
            ("Started from", _ancestors(card)),
            ("Weights, SHA-256", f"{str(card.get('sha256'))[:12]}…"),
        ]
        rows += [
            (f"Dice, {what}", f"{scores['mean']:.3f}") for what, scores in _scores(card) if "mean" in scores
        ]
        lines += [f"### {path.stem}", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {_escaped(str(value))} |" for name, value in rows if value is not None] + [""]
    return "\n".join(lines)


def label_tables() -> str:
    """Return the label tables."""
    folder = FOLDER / "labels"
    lines = []
    for path in sorted(folder.glob("*.tsv")):
        lines += [f"### {path.stem}", "", "| index | name | abbreviation | tissue |", "|---|---|---|---|"]
        for label in labels.load(path.stem):
            lines.append(f"| {label.index} | {label.name} | {label.abbreviation} | {label.tissue} |")
        lines.append("")
    return "\n".join(lines)


def derivatives() -> str:
    """Return the table of the files of a participant-session, from the specification of outputs."""
    lines = ["| file | content | voxels | written | read by |", "|---|---|---|---|---|"]
    for (name, words, when), output in zip(outputs.table(), outputs.load().values(), strict=True):
        kind = "int16 or float32" if output.dtype == "source" else output.dtype
        marks = "ᵃ" * (output.template and output.native) + "ᵇ" * output.flavored
        written = when or "always"
        readers = ", ".join(output.lookup)
        lines.append(f"| `PREFIX_{name}`{marks} | {words} | {kind} | {written} | {readers} |")
    return "\n".join([*lines, ""])


def label_files() -> str:
    """Return the table of the label files of the dataset."""
    lines = ["| file | labels of | label tables |", "|---|---|---|"]
    kinds = {output.label_file: output.description for output in outputs.load().values()}
    for name, tables in outputs.label_tables().items():
        lines.append(f"| `{name}`, `{outputs.color_table(name)}` | {kinds[name]} | {', '.join(tables)} |")
    return "\n".join([*lines, ""])


def populations() -> str:
    """Return the table of the populations."""
    folder = FOLDER / "populations"
    lines = ["| population | ages | template | networks |", "|---|---|---|---|"]
    for path in sorted(folder.glob("*.toml")):
        record = tomllib.loads(path.read_text(encoding="utf-8"))
        low, high = record.get("ages", ("", ""))
        able = record.get("untrained") or ", ".join(record.get("networks", {}).values())
        ages = f"{low} to {high} {record.get('age_unit', 'years')}"
        lines.append(f"| {record['name']} | {ages} | {record.get('template')} | {able} |")
    return "\n".join([*lines, ""])


def _ancestors(card: dict) -> str | None:
    """Return the weights that a training started from, with their steps."""
    found = [f"{one['name']} ({one['steps']} steps)" for one in card.get("begun_from") or []]
    return ", ".join(found) or None


def _scores(card: dict) -> list[tuple[str, dict]]:
    scores = card.get("scores") or {}
    return [(name, value) for name, value in scores.items() if isinstance(value, dict)]


def _help(action: argparse.Action) -> str:
    text = (action.help or "") % {"default": action.default, "prog": "brainseg-bids"}
    return " ".join(text.split())


def _exit_codes(epilog: str) -> list[str]:
    codes = " ".join(epilog.split()).removeprefix("exit codes: ").split("; ")
    return [
        "| code | meaning |",
        "|---|---|",
        *(f"| {' | '.join(_escaped(c).split(' ', 1))} |" for c in codes),
    ]


def _escaped(text: str) -> str:
    """Return text with the special characters of Markdown escaped."""
    for sign in ("\\", "`", "*", "_", "<", ">", "[", "]", "{", "}", "|", "$"):
        text = text.replace(sign, f"\\{sign}")
    return text
