"""Named under `litellm_settings.callbacks`: no proxy starts whose guardrails would not run.

LiteLLM loads callbacks first and stops where one fails; a stanza of `guardrails` that it cannot
read it passes over, and of a package that only such a stanza names it loads nothing.
"""

from __future__ import annotations

from litellm.integrations.custom_logger import CustomLogger

from gemma_guard import ConfigError
from gemma_guard_litellm import stanzas
from gemma_guard_litellm.guardrail import NotGuarding

try:
    stanzas.check_running(required=True)
except ConfigError as error:
    raise NotGuarding(str(error)) from error

guardrails = CustomLogger()
