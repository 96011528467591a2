"""The demonstration from end to end: data, models, platform, rollouts, load, report."""

import asyncio
import os
import platform as machine
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from perch.demo.declaration import demo_declaration
from perch.demo.releases import Releases
from perch.demo.scenarios import scenarios
from perch.demo.traffic import Traffic
from perch.errors import PerchError
from perch.local.platform import Platform, platform
from perch.local.processes import free_port
from perch.settings import ModelService, to_yaml
from perch.ui.live import LiveView
from perch.ui.record import LoadRecord, ModelRecord, RolloutRecord, RunRecord, StageRecord
from perch.ui.report import write_report

WARM_UP_S = 6.0
"""Traffic before the first release, from which the champion's usual latency is learnt."""
