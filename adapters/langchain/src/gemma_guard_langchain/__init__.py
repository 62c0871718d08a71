"""gemma-guard around LangChain: a guarded model that is still the model, and any other runnable."""

from gemma_guard_langchain.errors import GuardBlocked
from gemma_guard_langchain.steps import guard_input, guard_output
from gemma_guard_langchain.wrapping import wrap

__all__ = ["GuardBlocked", "guard_input", "guard_output", "wrap"]
