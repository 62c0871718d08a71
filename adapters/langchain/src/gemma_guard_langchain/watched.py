"""A guarded model's own: its guard, what it asks the guard, and the raw model inside."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from langchain_core.caches import BaseCache
from langchain_core.callbacks import BaseRunManager, Callbacks
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import RunnableConfig, ensure_config

from gemma_guard_langchain.cache import GuardedCache
from gemma_guard_langchain.claims import claims, inherited, of_config
from gemma_guard_langchain.exchange import Exchange, Watch
from gemma_guard_langchain.messages import read_messages
from gemma_guard_langchain.refusing import Guarded
from gemma_guard_langchain.views import Model, private, view

if TYPE_CHECKING:
    _Base = BaseChatModel
else:
    _Base = object


class Watched(Guarded, _Base):
    """What the calls and the streams of a guarded model have in common."""

    @property
    def _watch(self) -> Watch:
        watch: Watch = private(self)["_watch"]
        return watch

    @property
    def _asked(self) -> deque[Exchange] | None:
        """The questions of the call under way that are judged already, in order."""
        return private(self).get("_asked")

    def _next_asked(self) -> Exchange | None:
        return self._asked.popleft() if self._asked else None

    def _calling(self, asked: Sequence[Exchange]) -> Self:
        """This model in a call whose questions are judged already."""
        return view(self, type(self), _asked=deque(asked))

    @property
    def _is_listed(self) -> bool:
        return self.output_version == "v1"

    def _of_config(
        self, given: LanguageModelInput, config: RunnableConfig | None, options: Mapping[str, Any]
    ) -> tuple[PromptValue, Exchange]:
        tags, metadata = of_config(ensure_config(config))
        prompt = self._convert_input(given)
        return prompt, self._exchange(prompt.to_messages(), tags, metadata, options)

    def _of_callbacks(
        self, messages: Sequence[BaseMessage], callbacks: Callbacks, options: Mapping[str, Any]
    ) -> Exchange:
        tags, metadata = inherited(callbacks)
        tags += options.get("tags") or ()
        metadata |= options.get("metadata") or {}
        return self._exchange(messages, tags, metadata, options)

    def _of_run(
        self,
        messages: Sequence[BaseMessage],
        manager: BaseRunManager | None,
        options: Mapping[str, Any],
    ) -> Exchange:
        tags, metadata = (manager.tags, manager.metadata) if manager else ((), {})
        return self._exchange(messages, tags, metadata, options)

    def _exchange(
        self,
        messages: Sequence[BaseMessage],
        tags: Sequence[str],
        metadata: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Exchange:
        if self.tags or self.metadata:
            tags, metadata = [*tags, *(self.tags or ())], {**metadata, **(self.metadata or {})}
        claimed = claims(tags, metadata, user=options.get("user"))
        name = options.get("model") or _name(self)
        trusted = {"model": name} if name else {}
        return Exchange(
            messages,
            read_messages(messages),
            self._watch.asking(claimed, **trusted),
            self._watch.on_block,
        )

    def _raw(self, exchange: Exchange) -> tuple[BaseChatModel, GuardedCache | None]:
        """The model without its guard, and its cache, if it has one, under keys of the guard's."""
        kind = raw_class(self)
        used = self.cache if isinstance(self.cache, BaseCache) else get_llm_cache()
        if self.cache is False or used is None:
            return view(self, kind), None
        cache = GuardedCache(used, f"gemma-guard/{exchange.mark}/")
        return view(self, kind, fields={**self.__dict__, "cache": cache}), cache


def unwatched(model: Model) -> Model:
    """The model without its guard: what it changes in itself, it changes in `model`."""
    return view(model, raw_class(model))


def raw_class(model: BaseChatModel) -> type[BaseChatModel]:
    """The class of a guarded model without its guard."""
    return type(model).__bases__[1]


def seen(prompt: PromptValue, exchange: Exchange) -> PromptValue:
    """What may be seen of `prompt`."""
    return ChatPromptValue(messages=exchange.value) if exchange.is_changed else prompt


def _name(model: BaseChatModel) -> str | None:
    fields = model.__dict__
    names = (fields.get(key) for key in ("model_name", "model"))
    return next((name for name in names if name and isinstance(name, str)), None)
