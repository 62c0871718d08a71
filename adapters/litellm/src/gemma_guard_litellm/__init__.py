"""gemma-guard as a guardrail of the LiteLLM proxy.

```yaml
guardrails:
  - guardrail_name: gemma-guard
    litellm_params:
      guardrail: gemma_guard_litellm.GemmaGuard
      mode: [pre_call, post_call]
      default_on: true
      gemma_guard: {config: guard.yaml}
```
"""

from gemma_guard_litellm.guardrail import GemmaGuard, NotGuarding
from gemma_guard_litellm.refusal import Refused
from gemma_guard_litellm.sdk import Guarded, guarded

__all__ = ["GemmaGuard", "Guarded", "NotGuarding", "Refused", "guarded"]
