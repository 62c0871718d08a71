"""What a guardrail of LiteLLM has to show, by number, and where each is shown."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]


@dataclass(frozen=True)
class Behaviour:
    """`shown` by tests, as FILE::NAME below tests/; `unshown` is what cannot be, and why."""

    number: int
    name: str
    shown: tuple[str, ...]
    unshown: str = ""


def at(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"adapters/litellm/test_{file}.py::test_{name}" for name in names)


BEHAVIOURS = (
    Behaviour(
        1,
        "a_violating_input_is_400_and_reaches_no_model",
        at("matrix", "what_reaches_the_model_is_what_the_input_action_lets_on"),
    ),
    Behaviour(
        2,
        "a_violating_output_never_reaches_the_client",
        at("matrix", "what_reaches_the_client_is_what_the_output_action_lets_on")
        + at(
            "streams",
            "a_block_in_the_middle_releases_only_what_was_judged",
            "the_arguments_of_a_call_leave_only_when_the_whole_call_was_judged",
        ),
    ),
    Behaviour(
        3,
        "the_model_gets_the_mask_and_the_images_beside_it",
        at("matrix", "what_reaches_the_model_is_what_the_input_action_lets_on")
        + at("chat", "redaction_keeps_the_rest_of_the_request")
        + at("requests", "an_image_beside_a_redacted_text_goes_on"),
    ),
    Behaviour(
        4,
        "streams_are_redacted_in_every_form_also_across_chunks",
        at(
            "streams",
            "a_redaction_in_the_middle_leaves_the_rest",
            "a_word_cut_across_chunks_is_found",
            "the_openai_client_puts_a_redacted_response_together",
            "the_anthropic_client_puts_a_redacted_message_together",
        ),
    ),
    Behaviour(
        5,
        "an_image_alone_is_not_skipped",
        at(
            "requests",
            "an_image_alone_is_refused_where_media_are",
            "an_image_alone_is_a_gap_where_media_may_pass",
        ),
        unshown="no scorer here judges images, so they are refused or recorded, not scanned",
    ),
    Behaviour(
        6,
        "tool_calls_tool_results_system_texts_reasoning_and_every_choice_are_judged",
        at(
            "chat",
            "tool_call_arguments_are_judged_and_redacted",
            "no_field_of_an_answer_carries_unjudged_text",
            "every_choice_is_judged",
        )
        + at(
            "requests",
            "what_a_tool_answered_is_judged",
            "system_texts_are_judged_where_the_route_says_so",
        )
        + at(
            "streams",
            "reasoning_is_judged_as_a_text_of_its_own",
            "every_choice_of_a_stream_is_judged",
        ),
    ),
    Behaviour(
        7,
        "an_answer_is_judged_with_its_prompt",
        at("chat", "the_answer_is_judged_with_the_question"),
    ),
    Behaviour(
        8,
        "during_call_blocks_and_cannot_redact",
        at(
            "modes",
            "during_call_blocks_also_what_it_cannot_redact_though_the_model_was_called",
            "what_litellm_asks_nobody_about_during_the_call_is_judged_before_it",
        ),
    ),
    Behaviour(
        9,
        "a_subclass_still_runs",
        at("routes", "a_subclass_still_runs")
        + at(
            "start",
            "a_subclass_has_the_hooks_that_are_looked_up_in_the_class_itself",
            "a_subclass_that_litellm_would_pass_over_is_refused",
        ),
    ),
    Behaviour(
        10,
        "the_library_is_judged_without_guardrails_in_the_call",
        at(
            "sdk",
            "a_blocked_request_reaches_no_model",
            "a_redacted_request_goes_on_redacted",
            "an_answer_is_redacted_or_blocked",
            "a_stream_that_callbacks_could_not_stop_is_refused",
            "the_wrapper_redacts_a_stream",
            "the_wrapper_judges_the_synchronous_completion",
            "a_bare_synchronous_call_is_reported_and_no_other",
        )
        + at("matrix", "every_decision_is_recorded_with_its_action"),
    ),
    Behaviour(
        11,
        "errors_are_clean_json_with_a_stable_type",
        at(
            "chat",
            "the_openai_client_raises_bad_request_with_policy_and_decision",
            "a_blocked_answer_is_clean_json_without_the_answer",
        )
        + at("refusals", "a_request_that_no_judge_could_judge_has_its_own_code"),
        unshown="scores: they stay with the operator, never in an error",
    ),
    Behaviour(
        12,
        "a_block_midway_is_well_formed_for_real_clients",
        at(
            "streams",
            "the_openai_client_raises_after_the_clean_beginning",
            "the_anthropic_client_raises_after_the_clean_beginning",
            "the_openai_client_gets_a_failed_response",
            "on_a_polite_route_the_refusal_is_said_as_an_answer",
            "on_a_polite_route_the_anthropic_client_gets_a_whole_message",
        ),
    ),
    Behaviour(
        13,
        "a_failing_judge_fails_as_configured_and_never_as_the_callers_fault",
        at(
            "refusals",
            "a_broken_judge_answers_503_and_the_model_is_not_called",
            "fail_open_lets_both_ways_through_and_records_each_gap",
            "a_judge_that_comes_back_judges_the_next_call",
        )
        + at("start", "a_guard_that_fails_itself_fails_closed_without_its_message")
        + at("streams", "a_judge_that_fails_ends_a_stream_without_an_unjudged_word"),
    ),
    Behaviour(
        14,
        "policies_by_route_without_a_licence_and_callers_only_tighten",
        at(
            "routes",
            "each_field_chooses_its_route",
            "callers_cannot_pretend_to_be_another_key",
        ),
        unshown="an unknown policy in a request: requests name none, only fields that routes match",
    ),
    Behaviour(
        15,
        "log_changes_nothing_and_what_cannot_be_redacted_is_blocked",
        at("routes", "the_log_store_gets_one_entry_per_decision")
        + at("chat", "what_cannot_be_redacted_in_place_is_blocked"),
    ),
    Behaviour(
        16,
        "an_old_violation_does_not_block_for_ever",
        at("chat", "a_violating_turn_of_the_history_is_taken_out_and_the_chat_goes_on")
        + at("requests", "with_scope_new_an_old_turn_is_a_gap_and_stops_nothing"),
    ),
    Behaviour(
        17,
        "one_entry_per_decision_without_prompt_or_headers",
        at(
            "routes",
            "the_log_store_gets_one_entry_per_decision",
            "what_another_guardrail_refuses_next_is_entered_too",
        ),
        unshown="scores: a caller may ask LiteLLM for the entries; they are in the guard's records",
    ),
    Behaviour(
        18,
        "headers_and_a_start_up_line_prove_that_it_runs",
        at("streams", "a_response_names_the_decision_on_its_request_in_a_header")
        + at("proof", "an_answer_names_its_decisions", "a_refusal_names_the_decision_that_it_is")
        + at(
            "endpoints",
            "the_proxy_says_what_it_guards_when_it_starts",
            "at_the_start_every_real_route_to_a_model_is_listed_once_by_how_it_is_treated",
        ),
    ),
    Behaviour(
        19,
        "a_stream_is_scanned_a_bounded_number_of_times",
        at("scans", "a_judge_is_asked_once_for_many_tokens"),
    ),
    Behaviour(
        20,
        "judging_does_not_hold_up_other_calls",
        at("refusals", "a_hanging_judge_does_not_hold_up_other_calls"),
        unshown="what it costs is measured, by benchmarks/litellm_proxy.py",
    ),
    Behaviour(
        21,
        "the_core_brings_no_litellm",
        (
            "test_public_api.py::test_importing_it_loads_nothing_heavy",
            "test_packaging.py::test_the_core_brings_fewer_than_twenty_packages",
            "test_packaging.py::test_the_adapters_install_beside_the_core",
        ),
    ),
    Behaviour(
        22,
        "a_dotted_path_is_enough",
        at("preflight", "the_command_loads_the_guardrails_as_the_proxy_would"),
        unshown="a server for LiteLLM's generic guardrail API: not built",
    ),
    Behaviour(
        23,
        "other_versions_of_litellm_are_met_by_what_they_have",
        at("start", "a_litellm_that_would_not_run_the_hooks_is_refused")
        + at(
            "endpoints",
            "a_route_that_a_later_version_adds_is_refused_until_it_is_known",
            "every_route_that_litellm_says_reaches_a_model_has_a_family_here",
        ),
        unshown="the lowest and the latest version: one version is installed with the tests",
    ),
)


def test_every_behaviour_from_1_to_23_is_here_once() -> None:
    assert [behaviour.number for behaviour in BEHAVIOURS] == list(range(1, 24))


@pytest.mark.parametrize("one", BEHAVIOURS, ids=lambda one: f"{one.number:02}_{one.name}")
def test_it_is_shown(one: Behaviour) -> None:
    assert one.shown
    for place in one.shown:
        file, _, name = place.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        assert name in {getattr(node, "name", "") for node in tree.body}, place
