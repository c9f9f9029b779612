"""The package: `imcap` (library and command), `beam_jobs` (the Beam jobs) and `configs`.

Ranges are given here; the tested version of every package is pinned in constraints.txt.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

# Read as text: importing imcap would need its dependencies, which are not installed yet.
_INIT = Path(__file__).with_name("imcap") / "__init__.py"
VERSION = re.search(r'^__version__ = "(.+)"$', _INIT.read_text(encoding="utf-8"), re.MULTILINE)[1]

REQUIRES = [
    "absl-py>=2.3",
    "apache-beam>=2.70",
    "grpcio>=1.76",
    "jinja2>=3.1",
    "keras>=3.14",
    "markupsafe>=3.0",
    "matplotlib>=3.10",
    "ml_collections>=1.1",
    "ml_dtypes>=0.5.1",
    "nltk>=3.9",
    "numpy>=2.1",
    "pillow>=11",
    "prometheus-client>=0.20",
    "protobuf>=6.31.1",
    "pyarrow>=18",
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
# tensorflow-hub imports pkg_resources, which setuptools 81 no longer holds.
BENCH_REQUIRES = ["google-crc32c", "setuptools>=70.1,<81", "tensorflow-hub", "tf-keras"]
# What reads the word vectors of a fastText model.
VECTORS_REQUIRES = ["gensim>=4.4"]
# What the web page needs: Streamlit, and what fetches images from addresses.
APP_REQUIRES = ["certifi", "streamlit>=1.60", "urllib3>=2.2"]
# Sentence embeddings; keras-hub needs safetensors to read Hugging Face's files.
SIMILARITY_REQUIRES = ["keras-hub>=0.32", "safetensors>=0.5"]
# What reads records in PyTorch (docs/records.md), and trains beside imcap in `imcap bench train`.
# Its wheel is larger than all others together.
TORCH_REQUIRES = ["torch>=2.6"]
TEST_REQUIRES = [
    *APP_REQUIRES,
    *BENCH_REQUIRES,
    *SIMILARITY_REQUIRES,
    *VECTORS_REQUIRES,
    "axe-core-python",
    "boto3",
    "flask",
    "flask-cors",
    "httpx2",
    "hypothesis",
    "jax",
    "moto[s3]",
    "mypy",
    "pytest",
    "pytest-xdist",
    "ruff",
    "selenium",
    "tensorflow-datasets",
]

setup(
    name="imcap",
    version=VERSION,
    description="From a folder of images and captions to a served captioner, on TensorFlow.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=["imcap", "imcap.*", "beam_jobs", "beam_jobs.*", "configs", "configs.*"]
    ),
    package_data={"": ["py.typed", "templates/*", ".streamlit/*", "models/*/*"]},
    install_requires=REQUIRES,
    extras_require={
        "app": APP_REQUIRES,
        "bench": BENCH_REQUIRES,
        "similarity": SIMILARITY_REQUIRES,
        "test": TEST_REQUIRES,
        "torch": TORCH_REQUIRES,
        "vectors": VECTORS_REQUIRES,
    },
    entry_points={
        "console_scripts": ["imcap=imcap.cli:main", "imcap-worker=beam_jobs.runners.worker:main"]
    },
)
