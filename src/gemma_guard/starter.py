"""The commented guard.yaml that `gemma-guard init` writes."""

STARTER = """\
# guard.yaml: which policies apply to which traffic. Check it with: gemma-guard lint
version: 1

# Where every decision is kept, one JSON object a line, without any text.
# `gemma-guard show ID` reads it.
records:
  jsonl: decisions.jsonl
#   prometheus: true              # counters and a latency histogram, for the process's registry

# Read this file again when it changes, or on SIGHUP; a bad one leaves the last good in service.
# reload: {watch_s: 2, sighup: true}

# Ask every judge about a harmless and a harmful text now and then, and log one that fails.
# heartbeat_s: 30

# What is let through for a while. A text is named by its hash: gemma-guard hash TEXT
# hash_key: ""                    # a long random word of yours
# exceptions:
#   - {phrase: "Kill Switch 3000", policies: [dangerous_content],
#      reason: a product of ours, owner: Ana, expires: 2027-01-31}

# Scorers with options of their own. A scorer that needs none is used by its name alone.
# scorers:
#   lite: {type: lite, threads: 2}
#   keywords:
#     type: fake
#     keywords: {harassment: {idiot: 0.7}}
#     calibration: keywords.yaml  # maps its scores to probabilities; made for this very scorer

routes:
  # `default` takes all traffic that no other route matches. It is the floor.
  default:
    scorer: lite                  # the embedded judge: pip install "gemma-guard[lite]"
    packs: [lite, privacy]        # the four harms with bands that fit lite, and personal details;
                                  # also shipped: default, strict, family; or yours: ./mine.yaml
    on_error: fail_closed         # the judge does not answer: fail_closed, fail_open,
                                  # or {fallback: another_scorer}
    deadline_ms: 5000             # the longest a check may take
    media: refuse                 # images and audio, which no scorer here judges: refuse or gap
    max_chars: 200000             # of one request; a longer one is refused
    history: redact               # an older turn that violates is taken out, or: block
    scope: all                    # judge the whole conversation, or only what is new: new
    judge_system: false           # judge system text too, where callers write it
    refusal: This was blocked by a content policy.
    placeholder: "[redacted: {policy}]"   # for what was judged; what a pattern found is numbered
    stream:                       # how long a streamed answer is held to be judged
      mode: window                # sentence by sentence; buffer: to the end; after: not at all,
                                  # for routes that only log
      window_chars: 160           # judge when so many wait and a sentence ends,
      max_hold_chars: 640         # or so many wait,
      max_hold_ms: 1000           # or one has waited so long
      confirm: 5                  # act on an opinion when so many windows in a row agree
    policies:
      harassment:
        bands:                    # act at violation >= threshold: log, redact, block
          input: {log: 0.6, block: 0.95}
      ip_address:
        shadow: true              # decide and record, enforce nothing

  # A caller may choose this route with a tag, because it is only ever stricter. A route has all
  # that the one it extends has, and its policies too unless it names packs of its own.
  kids:
    extends: default
    match:
      claimed: {tag: kids}        # tag, user, header.NAME, metadata.NAME: what callers say
    packs: [family, privacy]

  # What the gateway itself knows may choose any route. The first match wins.
  # research:
  #   extends: default
  #   match:
  #     trusted: {team: "research-*", model: [gpt-4o, "claude-*"]}   # model, key_alias, team, path
  #   policies:
  #     dangerous_content: {shadow: true}
"""
