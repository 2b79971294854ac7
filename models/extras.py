"""Which extra of the distribution brings a library that is not installed.

`pip install wakeful` is the vehicle: no torch, no Streamlit, no PostgreSQL. What belongs to another
role is imported by the command that needs it, and a failed import ends in one line with the cure.
"""

from collections.abc import Sequence
from importlib.util import find_spec

# Import name → extra, for every library that a vehicle does not have.
EXTRA_OF = {
    "altair": "dashboard",
    "authlib": "dashboard",
    "cryptography": "fleet",
    "lap": "train",
    "matplotlib": "train",
    "nncf": "train",
    "onnx": "train",
    "onnxslim": "train",
    "pandas": "dashboard",
    "prometheus_client": "fleet",
    "psycopg": "fleet",
    "pyarrow": "train",
    "safetensors": "train",
    "sklearn": "train",
    "starlette": "dashboard",
    "streamlit": "dashboard",
    "torch": "train",
    "torchvision": "train",
    "ultralytics": "train",
}


class MissingExtraError(ImportError):
    """A library that another role's installation would have; one line with the cure."""


def cure(module: str) -> str:
    """How to install what `module` belongs to: `pip install 'wakeful[train]'`.

    Raises:
        KeyError: a library of no extra.
    """
    return f"pip install 'wakeful[{EXTRA_OF[module.partition('.')[0]]}]'"


def require(*modules: str) -> None:
    """Refuse before any work is done, not in the middle of it.

    Raises:
        MissingExtraError: one of the modules is not installed.
    """
    absent = [module for module in modules if find_spec(module) is None]
    if absent:
        raise MissingExtraError(explain(absent))


def explain(modules: Sequence[str]) -> str:
    """One line: what is missing, and which extra brings it."""
    return f"{', '.join(modules)} is not installed here; {cure(modules[0])} brings it"
