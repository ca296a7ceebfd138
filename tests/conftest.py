"""What all tests share: one thread for torch, and the helper modules of this folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before torch is imported, so that neither this process nor those it starts spread over the cores: results would
# differ in the last bits, and two busy processes would slow each other down.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
# Of the processes that this one starts: what glibc frees stays theirs (`engine.device.keep_freed_memory`). On virtual
# machines that give free pages back to their host, each new page costs tens of microseconds.
os.environ["MALLOC_MMAP_THRESHOLD_"], os.environ["MALLOC_TRIM_THRESHOLD_"] = str(2**25), str(2**31 - 1)
# Each process tells the commit it runs from; whoever commits while the tests run must not tell two of them apart.
os.environ["HARNESS_COMMIT"] = "0" * 40
sys.path.insert(0, str(Path(__file__).parent))
