"""The process of a flow run that a worker starts: Prefect's engine in a session of its own, so that it outlives the
worker, whose process group ends with it."""

from __future__ import annotations

import gc
import os
import runpy

if __name__ == "__main__":
    os.setsid()
    gc.disable()  # nothing that is imported is garbage, and to look for some takes a fifth of the time
    import prefect.flow_engine  # noqa: F401

    gc.freeze()
    gc.enable()
    runpy.run_module("prefect.engine", run_name="__main__")
