"""The image without Docker: the steps of the Dockerfile in a bare Debian root, and participants in it.

``image.py check DIR`` builds it and runs participants under the conditions of a cluster,
``image.py lock DIR`` writes the versions of all packages, and ``image.py apptainer`` the definition file.
debootstrap and bubblewrap are needed; pip and debootstrap use the configuration of this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import dockerfile

HERE = Path(__file__).resolve().parent
CONTEXT = HERE.parent
DOCKERFILE = CONTEXT / "Dockerfile"
DEFINITION = CONTEXT / "apptainer.def"
CONSTRAINTS = HERE / "constraints.txt"

SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
"""Packages of the bare root, which stands for the base image."""

LARGEST = 2e9
"""Largest size (bytes) of the image."""

PIP_FILES = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf")
NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs", "/usr/local/share/ca-certificates")
PASSED = re.compile(r"(PIP_\w+|\w+_(proxy|PROXY)|SSL_CERT_FILE|REQUESTS_CA_BUNDLE)")
"""Environment variables of this machine that a step sees."""

LOCAL = re.compile(r"(?<![\w.:/])(?:file://)?(/[\w./-]+)")
"""Paths in the configuration of pip."""

TMP_BYTES = 64 * 2**20
"""Size of /tmp in the check."""


def build(root: Path, arguments: Mapping[str, str]) -> dict[str, str]:
    """Execute all stages; return the environment of the image.

    Parameters
    ----------
    root : Path
        Folder of the image; it is replaced.
    arguments : mapping of str to str
        Build arguments.
    """
    stages = dockerfile.read(DOCKERFILE, arguments)
    base = _bare_root(root.with_name(f"{root.name}-base"))
    made: dict[str, Path] = {}
    environment: dict[str, str] = {}
    for number, stage in enumerate(stages):
        last = number == len(stages) - 1
        folder = root if last else root.with_name(f"{root.name}-{stage.name}")
        if folder.exists():
            shutil.rmtree(folder)
        subprocess.run(["cp", "-a", str(base), str(folder)], check=True)
        environment = _execute(stage, folder, made, arguments)
        made[stage.name] = folder
    for name, folder in made.items():
        if name:
            shutil.rmtree(folder)
    return environment


def _bare_root(folder: Path) -> Path:
    """Make a bare Debian root unless it exists."""
    if (folder / "usr/bin/python3").exists():
        return folder
    _say(f"debootstrap {SUITE}")
    mirror = _mirror()
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(folder)]
    subprocess.run([*command, *([mirror] if mirror else [])], check=True, stdout=subprocess.DEVNULL)
    for pattern in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def _mirror() -> str:
    """Return the Debian archive that apt uses on this machine; empty for debootstrap's own."""
    texts = [p.read_text() for p in Path("/etc/apt").glob("sources.list.d/*") if p.is_file()]
    main = Path("/etc/apt/sources.list")
    texts += [main.read_text()] if main.is_file() else []
    for text in texts:
        found = re.search(r"^(?:URIs:|deb(?:\s+\[.*?\])?)\s*(\S+/debian/?)(\s|$)", text, re.MULTILINE)
        if found:
            return found[1]
    return ""


def _execute(
    stage: dockerfile.Stage, root: Path, made: Mapping[str, Path], arguments: Mapping[str, str]
) -> dict[str, str]:
    """Execute the steps of a stage in its root; return its environment."""
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    given: dict[str, str] = {}
    workdir = "/"
    for word, text in stage.steps:
        if word == "ARG":
            given |= {name: arguments.get(name, value) for name, value in dockerfile.pairs(text).items()}
        elif word == "ENV":
            environment |= dockerfile.pairs(dockerfile.substitute(text, given | environment))
        elif word == "WORKDIR":
            workdir = text
            (root / text.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            _copy(text, root, workdir, made)
        elif word == "RUN":
            _say(f"RUN {text}")
            command = ["/bin/sh", "-c", text]
            subprocess.run([*_in_root(root, environment | given, workdir), *command], check=True)
    return environment


def _copy(text: str, root: Path, workdir: str, made: Mapping[str, Path]) -> None:
    words = shlex.split(text)
    source = CONTEXT
    if words[0].startswith("--from="):
        source = made[words.pop(0).removeprefix("--from=")]
    *names, target = words
    for name in names:
        path = source / name.lstrip("/")
        into = root / str(Path(workdir) / target).lstrip("/")
        if path.is_dir():
            hidden = shutil.ignore_patterns("__pycache__") if source == CONTEXT else None
            shutil.copytree(path, into, symlinks=True, ignore=hidden, dirs_exist_ok=True)
        else:
            into = into / path.name if target.endswith("/") else into
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, into)


def _in_root(root: Path, environment: Mapping[str, str], workdir: str) -> list[str]:
    """Return the command that runs another one in a root, with the network configuration of this machine."""
    machine = {k: v for k, v in os.environ.items() if PASSED.fullmatch(k)}
    files = [Path(name).expanduser() for name in PIP_FILES]
    texts = [path.read_text() for path in files if path.is_file()] + list(machine.values())
    named = {Path(found) for text in texts for found in LOCAL.findall(text)}
    # The pages of an index on a disk link to files beside them.
    named = {path.parent if path.name == "simple" else path for path in named}
    bound = [*map(Path, NETWORK_FILES), *files, *named]
    command = ["bwrap", "--die-with-parent", "--bind", str(root), "/", "--dev", "/dev", "--proc", "/proc"]
    command += ["--tmpfs", "/tmp", "--tmpfs", "/root"]
    for path in sorted({path for path in bound if path.exists() and len(path.parts) > 2}):
        command += ["--ro-bind", str(path), str(path)]
    command += ["--clearenv", "--chdir", workdir, "--setenv", "HOME", "/root"]
    for name, value in (machine | dict(environment)).items():
        command += ["--setenv", name, value]
    return command


def check(root: Path, environment: Mapping[str, str], scratch: Path) -> None:
    """Run participants of the demonstration in the image as Apptainer runs it on a cluster.

    The root is read-only, the user has no passwd entry, HOME is missing or cannot be written, /tmp is small,
    there is no network, and the PYTHONPATH of the host breaks Python; only the dataset (read-only) and the
    output folder are bound.

    Parameters
    ----------
    root : Path
        Folder of the image.
    environment : mapping of str to str
        Environment of the image.
    scratch : Path
        Folder for dataset and results.
    """
    bids, out = scratch / "bids", scratch / "out"
    for folder in (bids, out):
        folder.mkdir(parents=True, exist_ok=True)
    demo = ["python3", "-m", "brainseg.bidsapp.demo", "/bids"]
    subprocess.run([*confined(root, environment, {"/bids": bids}), *demo], check=True)
    broken = bids / "code"
    broken.mkdir(exist_ok=True)
    for name in ("numpy", "torch", "nibabel", "sitecustomize"):
        (broken / f"{name}.py").write_text("raise ImportError('of the host')\n")
    host = dict(environment) | {"PYTHONPATH": "/bids/code", "PYTHONHOME": "/nowhere"}
    without = {name: value for name, value in host.items() if name != "HOME"}
    for label, variables in (("01", host | {"HOME": "/nowhere"}), ("02", without)):
        _say(f"participant {label}, HOME={variables.get('HOME', '(unset)')}")
        command = confined(root, variables, {"/out": out}, {"/bids": bids})
        options = ["participant", "--participant-label", label, "--sloppy"]
        began = time.monotonic()
        subprocess.run([*command, *entrypoint(), "/bids", "/out", *options], check=True)
        found = list(out.glob(f"sub-{label}/anat/*_dseg.nii.gz"))
        if not found or not (out / f"sub-{label}.html").is_file():
            raise SystemExit(f"participant {label} left no segmentation or report in {out}")
        _say(f"participant {label} in {time.monotonic() - began:.0f} s")
    left = sorted(path.name for path in out.glob(".brainseg*"))
    if left:
        raise SystemExit(f"left in the output folder: {', '.join(left)}")


def entrypoint() -> list[str]:
    """Return the words of the image's ENTRYPOINT."""
    text = next(text for word, text in dockerfile.read(DOCKERFILE)[-1].steps if word == "ENTRYPOINT")
    return _words(text)


def confined(
    root: Path,
    environment: Mapping[str, str],
    bound: Mapping[str, Path],
    read_only: Mapping[str, Path] | None = None,
    options: Sequence[str] = (),
) -> list[str]:
    """Return the command that runs another one in an image as Apptainer does on a cluster.

    Parameters
    ----------
    root : Path
        Folder of the image.
    environment : mapping of str to str
        The whole environment.
    bound, read_only : mapping of str to Path
        Folders by their path in the container.
    options : sequence of str
        More options of bubblewrap.
    """
    command = ["bwrap", "--die-with-parent", "--ro-bind", str(root), "/", "--dev", "/dev", "--proc", "/proc"]
    command += ["--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--unshare-user", "--uid", "54321"]
    command += ["--gid", "54321", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--chdir", "/"]
    for target, path in bound.items():
        command += ["--bind", str(path), target]
    for target, path in (read_only or {}).items():
        command += ["--ro-bind", str(path), target]
    command += [*options, "--clearenv"]
    for name, value in environment.items():
        command += ["--setenv", name, value]
    return command


def size_of(root: Path) -> int:
    """Return the size of an image in bytes."""
    done = subprocess.run(["du", "-sxb", str(root)], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[0])


def lock(root: Path) -> None:
    """Write the versions of all packages of an image that was built without constraints."""
    command = ["/opt/brainseg/bin/python", "-m", "pip", "list", "--format=freeze"]
    done = subprocess.run([*_in_root(root, {}, "/"), *command], check=True, capture_output=True, text=True)
    lines = [line.split("+")[0] for line in done.stdout.splitlines()]
    kept = sorted(line for line in lines if not line.startswith(("brainseg", "pip==")))
    CONSTRAINTS.write_text("# Written by: make image-lock\n" + "".join(f"{line}\n" for line in kept))


def definition() -> str:
    """Return the definition file of Apptainer with the steps of the Dockerfile."""
    out = ["# Written by `make apptainer.def` from the Dockerfile; change that one.", ""]
    for stage in dockerfile.read(DOCKERFILE):
        out += ["Bootstrap: docker", f"From: {stage.base}", f"Stage: {stage.name or 'final'}", ""]
        out += _sections(stage)
    return "\n".join(out).rstrip() + "\n"


def _sections(stage: dockerfile.Stage) -> list[str]:
    """Return the sections of a stage."""
    sections: dict[str, list[str]] = {"%arguments": []}
    post, labels, environment, run = [], [], [], []
    workdir, names = Path("/"), []
    for word, text in stage.steps:
        if word == "COPY":
            header, lines = _files(text, workdir)
            sections.setdefault(header, []).extend(lines)
        elif word == "ARG":
            names += dockerfile.pairs(text)
            sections["%arguments"] += [
                f"    {name}={value}" for name, value in dockerfile.pairs(text).items()
            ]
            post += [f'    {name}="{{{{ {name} }}}}"' for name in dockerfile.pairs(text)]
        elif word == "ENV":
            variables = dockerfile.pairs(text)
            for argument in names:
                given = f"{{{{ {argument} }}}}"
                variables = {k: v.replace(f"${{{argument}}}", given) for k, v in variables.items()}
            lines = [f'    export {name}="{value}"' for name, value in variables.items()]
            environment += lines
            post += lines
        elif word == "WORKDIR":
            workdir = Path(text)
            post.append(f"    mkdir -p {text} && cd {text}")
        elif word == "RUN":
            post.append(f"    {text}")
        elif word == "LABEL":
            text = dockerfile.substitute(text, {name: f"{{{{ {name} }}}}" for name in names})
            labels += [f"    {name} {value}" for name, value in dockerfile.pairs(text).items()]
        elif word == "ENTRYPOINT":
            run.append(f'    exec {shlex.join(_words(text))} "$@"')
    sections["%post"] = ["    set -e", *post]
    if not stage.name:
        sections |= {"%labels": labels, "%environment": environment, "%runscript": run}
    return [line for header, lines in sections.items() if lines for line in (header, *lines, "")]


def _files(text: str, workdir: Path) -> tuple[str, list[str]]:
    """Return the header and the lines of a section of files for a COPY."""
    words = shlex.split(text)
    stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else ""
    *names, target = words
    into = {name: workdir / target / (Path(name).name if target.endswith("/") else "") for name in names}
    return f"%files from {stage}" if stage else "%files", [
        f"    {name} {path}" for name, path in into.items()
    ]


def _words(text: str) -> list[str]:
    """Return the words of a list in JSON."""
    return [str(word) for word in json.loads(text)]


def _say(text: str) -> None:
    print(f"== {text}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("check", "lock", "apptainer"))
    parser.add_argument("root", type=Path, nargs="?", help="folder of the image")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args(argv)
    if args.action == "apptainer":
        DEFINITION.write_text(definition())
        return 0
    missing = [name for name in ("debootstrap", "bwrap") if shutil.which(name) is None]
    if missing or args.root is None or os.getuid() != 0:
        print(f"image.py: a folder, root and debootstrap and bubblewrap are needed (missing: {missing})")
        return 2
    # pip's own index, as this machine configures it, in place of PyTorch's
    arguments = {"TORCH_INDEX": ""} | dict(text.split("=", 1) for text in args.build_arg)
    root = args.root.resolve()
    if args.action == "lock":
        CONSTRAINTS.write_text("")
        build(root, arguments)
        lock(root)
        return 0
    environment = build(root, arguments)
    size = size_of(root)
    _say(f"size {size / 1e9:.2f} GB")
    if size > LARGEST:
        raise SystemExit(f"the image is larger than {LARGEST / 1e9:.0f} GB")
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        Path(scratch).chmod(0o755)
        check(root, environment, Path(scratch))
    _say("the image builds, and participants run in it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
