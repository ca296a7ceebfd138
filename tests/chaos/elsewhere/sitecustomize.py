"""Python begins with this where its folder is on the path: the process is on the host $ELSEWHERE, by its own words."""

from __future__ import annotations

import os
import socket

socket.gethostname = lambda: os.environ["ELSEWHERE"]
