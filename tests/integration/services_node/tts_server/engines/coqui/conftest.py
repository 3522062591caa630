"""The folder's own modules, for tests that run in the environment `tts-coqui`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
