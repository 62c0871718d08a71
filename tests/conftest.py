"""Laws are checked without a clock: a busy machine is no counterexample.

Where CI is set they are checked on the same examples each time, so that a change is judged by what
it changed; anywhere else new ones are looked for.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("calm", calm)
settings.register_profile("ci", calm, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "calm")
