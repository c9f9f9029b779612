"""The package: `imcap` (library and command) and `beam_jobs` (its Apache Beam job).

Ranges are given here; the exact tested versions of everything are pinned in constraints.txt.
"""

from setuptools import find_packages, setup

REQUIRES = [
    "absl-py>=2.3",
    "apache-beam>=2.70",
    "jinja2>=3.1",
    "keras>=3.14",
    "matplotlib>=3.10",
    "ml_collections>=1.1",
    "nltk>=3.9",
    "numpy>=2.1",
    "pillow>=11",
    "pycocoevalcap>=1.2",
    "starlette>=1.2",
    "tensorboard>=2.20",
    "tensorflow>=2.21,<2.22",
    "tensorflow-serving-api>=2.19",
    "tensorflow-text>=2.21,<2.22",
    "tqdm>=4.67",
    "uvicorn>=0.34",
]
# What Beam's RunInference and WriteToTFRecord, the peers of `imcap bench records`, need.
BENCH_REQUIRES = ["google-crc32c", "tensorflow-hub", "tf-keras"]
TEST_REQUIRES = ["httpx2", "hypothesis", "pytest", "pytest-xdist", "ruff", "selenium"]

setup(
    name="imcap",
    version="0.1.0",
    description="From photos and captions to a served image captioner, on TensorFlow.",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["imcap", "imcap.*", "beam_jobs", "beam_jobs.*"]),
    package_data={"imcap.reports": ["templates/*"]},
    install_requires=REQUIRES,
    extras_require={"bench": BENCH_REQUIRES, "test": TEST_REQUIRES},
    entry_points={
        "console_scripts": ["imcap=imcap.cli:main", "imcap-worker=beam_jobs.runners.worker:main"]
    },
)
