"""gemma-guard around LangChain chat models: a guarded model that is still the model."""

from gemma_guard_langchain.errors import GuardBlocked
from gemma_guard_langchain.wrapping import wrap

__all__ = ["GuardBlocked", "wrap"]
