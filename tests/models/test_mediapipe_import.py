"""MediaPipe is loaded without what it imports and nobody here uses."""

import subprocess
import sys

from tests.support.paths import ROOT

STORY = """
import importlib.abc, pathlib, re, sys

class Missing(importlib.abc.MetaPathFinder):
    "As where configs/vehicle-unused.txt was uninstalled."
    listed = pathlib.Path("configs/vehicle-unused.txt").read_text()
    names = set(re.findall(r"^[a-z_]+$", listed, re.M))

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(name)

assert "jaxlib" in Missing.names
sys.meta_path.insert(0, Missing())

import numpy as np
import skimage.data
from monitor.perception.face import region_of_box
from monitor.perception.facemesh import Landmarker, MediaPipeFaceFinder

image = np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1])
(face,) = MediaPipeFaceFinder()(image)
assert Landmarker()(image, region_of_box(face)).shape == (478, 3)
assert "matplotlib" not in sys.modules

from matplotlib.figure import Figure  # the real one for whoever draws
assert Figure().subplots() is not None
"""


def test_faces_are_found_without_matplotlib_and_without_what_a_vehicle_uninstalls() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STORY], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
