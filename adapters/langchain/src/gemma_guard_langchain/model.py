"""A guarded chat model: the same class of model, with a guard on both sides of every call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
)
from langchain_core.runnables.configurable import RunnableConfigurableFields
from langchain_core.runnables.utils import AnyConfigurableField, Input, Output

from gemma_guard_langchain.calls import GuardedCalls
from gemma_guard_langchain.exchange import Watch
from gemma_guard_langchain.refusing import (
    Guarded,
    guarding,
)
from gemma_guard_langchain.streams import GuardedStreams
from gemma_guard_langchain.views import Model, guarded_class, view
from gemma_guard_langchain.watched import unwatched


class GuardedModel(GuardedStreams, GuardedCalls):
    """What a guarded model adds to its class; `wrap` makes them."""

    def with_structured_output(self, *args: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """As the model's own; a blocked answer raises `GuardBlocked`, with `include_raw` too."""
        raising = view(self, type(self), _watch=replace(self._watch, on_block="raise"))
        structured = super(GuardedModel, raising).with_structured_output(*args, **kwargs)
        return cast("Runnable[Any, Any]", guarding(structured))

    def bind_tools(self, *args: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """As the model's own; by its annotation LangChain knows to bind fallbacks as well."""
        return cast("Runnable[Any, Any]", guarding(super().bind_tools(*args, **kwargs)))

    def configurable_fields(self, **fields: AnyConfigurableField) -> Any:
        """As the model's own; the model that LangChain builds of the fields is guarded too."""
        super().configurable_fields(**fields)  # refuses what is no field of the model
        return GuardedFields(default=self, fields=fields)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Not: what is loaded again would have no guard."""
        return False

    @property
    def _serialized(self) -> dict[str, Any]:
        """What callbacks are told of the model: a name, and nothing to load it from."""
        return {"lc": 1, "type": "not_implemented", "id": self.lc_id(), "repr": None}

    def __reduce_ex__(self, _: Any) -> tuple[Any, ...]:
        """The model and its guard, put together again where they are unpickled."""
        return watched, (unwatched(self), self._watch)


class GuardedFields(Guarded, RunnableConfigurableFields[Input, Output]):
    """A guarded model some of whose fields are set by the configuration of a run."""

    def _prepare(
        self, config: RunnableConfig | None = None
    ) -> tuple[Runnable[Any, Any], RunnableConfig]:
        guarded = cast("GuardedModel", self.default)
        raw = RunnableConfigurableFields(default=unwatched(guarded), fields=self.fields)
        model, config = raw._prepare(config)  # noqa: SLF001  the hook, as in subclasses
        watch = guarded._watch  # noqa: SLF001  a friend
        return cast("Any", watched(cast("BaseChatModel", model), watch)), config


def watched(model: Model, watch: Watch) -> Model:
    """`model` guarded: what it changes in itself, it changes in `model`."""
    return view(model, guarded_class(GuardedModel, type(model)), _watch=watch)


def apart(model: Model) -> Model:
    """`model` as it is now; changes to either do not reach the other."""
    return view(model, type(model), fields={**model.__dict__})
