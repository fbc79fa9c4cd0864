"""Build of brainseg-bids: top-level folders installed together as the namespace package ``brainseg``."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.1.0"
HERE = Path(__file__).resolve().parent

# No __init__.py at the root: every folder here becomes ``brainseg.<folder>``.
TOP = ("bidsapp", "workflows", "interfaces", "models", "training")
packages: list[str] = []
package_dir: dict[str, str] = {}
for top in TOP:
    package_dir[f"brainseg.{top}"] = top
    packages += [f"brainseg.{top}"] + [f"brainseg.{top}.{sub}" for sub in find_packages(str(HERE / top))]

README = HERE / "README.md"

setup(
    name="brainseg-bids",
    version=VERSION,
    description="BIDS App: brain MRI to masks, segmentations, volumes and template alignment",
    long_description=README.read_text(encoding="utf-8") if README.is_file() else "",
    long_description_content_type="text/markdown",
    author="The brainseg-bids developers",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
    packages=packages,
    package_dir=package_dir,
    include_package_data=False,
    package_data={
        "brainseg.models": ["data/*.toml", "data/*/*"],
        "brainseg.bidsapp": [
            "config/*.json",
            "jobs/engines/*/*",
            "reports/assets/**",
            "reports/templates/**",
            "tools/viewers/melage/*.txt",
        ],
        "brainseg.training": ["recipes/*.yaml", "recipes/*.tsv", "sources/*.tsv"],
    },
    python_requires=">=3.11",
    install_requires=[
        "antspyx>=0.6",
        "h5py>=3.11",
        "isal>=1.7",
        "jinja2>=3.1",
        "lazy-loader>=0.4",
        "markdown-it-py>=3.0",
        "matplotlib>=3.8",
        "nibabel>=5.3",
        "nilearn>=0.12",
        # bidsapp/execution/scheduler/nipype_internals.py overrides hooks that are not public
        "nipype>=1.10,<1.12",
        "niworkflows>=1.14",
        "numpy>=2.0",
        "pillow>=10.1",
        "pybids>=0.20",
        "pyyaml>=6.0",
        "rich>=13.0",
        "safetensors>=0.4.3",
        "scikit-image>=0.22",
        "scipy>=1.13",
        "templateflow>=25.0",
        "torch>=2.6,<2.14",
    ],
    extras_require={
        # ruff is held at one minor version: its rules and its formatting change between them
        "test": [
            "bids-validator-deno>=2.0",
            "boutiques>=0.5.30",
            "hypothesis>=6.100",
            "import-linter>=2.5",
            "mypy>=1.18,<3",
            "networkx>=3.0",
            "nitransforms>=25.1",
            "psutil>=5.9",
            "pytest>=8.0",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ruff>=0.17,<0.18",
            "selenium>=4.20",
            # reads transforms independently of the program
            "simpleitk>=2.3",
            "setuptools>=77",
        ],
        "dev": ["coverage[toml]>=7.4", "pre-commit>=4.0"],
        # the installed query file of fMRIPrep's anatomical part is the contract that the hand-off is held to
        "smriprep": ["smriprep>=0.19"],
        "docs": ["furo>=2024.8", "myst-parser>=4.0", "sphinx>=8.1"],
        # monai changes images with labels at random; its transformers need einops
        "train": [
            "einops>=0.7",
            "lightning>=2.5,<2.7",
            "mlflow-skinny>=3.0",
            "monai>=1.4",
            "pandas>=2.2.2",
            "tensorboard>=2.16",
        ],
        # networks of MONAI, for training and for their use
        "zoo": ["einops>=0.7", "monai>=1.4"],
    },
    entry_points={
        "console_scripts": [
            "brainseg-bids = brainseg.bidsapp.cli.bids:main",
            "brainseg = brainseg.bidsapp.cli.main:main",
        ],
    },
)
