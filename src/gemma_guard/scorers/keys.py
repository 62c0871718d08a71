"""The shapes of secrets that are made to be recognised: keys with a prefix, and PEM blocks."""

from __future__ import annotations

import regex

# One line per issuer, as they publish it; grouped by first letters, which is quicker to search.
# Where several lengths are in use, the shortest is asked for.
API_KEY = regex.compile(
    r"""
    (?<![A-Za-z0-9])
    (?: A (?: (?:KIA|SIA)[A-Z0-9]{16} (?![A-Za-z0-9])         # AWS
            | Iza[A-Za-z0-9_-]{35} (?![A-Za-z0-9_-]) )        # Google
      | GOCSPX-[A-Za-z0-9_-]{28}                              # Google, OAuth client
      | ya29\.[A-Za-z0-9_-]{20,}+                             # Google, OAuth access
      | g (?: h[opsur]_[A-Za-z0-9]{36,}+                      # GitHub
            | ithub_pat_[A-Za-z0-9_]{50,}+
            | l (?: agent|cbt|dt|ft|imt|oas|pat|ptt|rt|soat ) -[A-Za-z0-9_-]{20,}+   # GitLab
            | lsa_[A-Za-z0-9_]{32,}+                          # Grafana
            | sk_[A-Za-z0-9]{40,}+ )                          # Groq
      | xox[a-z](?:\.[a-z]{3,5})?-[A-Za-z0-9-]{10,}+          # Slack
      | xapp-[0-9]-[A-Za-z0-9-]{10,}+
      | xai-[A-Za-z0-9]{40,}+                                 # xAI
      | s (?: k_live_[A-Za-z0-9]{16,}+                        # Stripe
            | k- (?: ant|proj|svcacct|admin|or|lf ) -[A-Za-z0-9_-]{20,}+   # Anthropic, OpenAI ...
            | k-[A-Za-z0-9]{20,}+                             # OpenAI, DeepSeek
            | hp (?:at|ca|pa|ss) _[A-Fa-f0-9]{32} )           # Shopify
      | rk_live_[A-Za-z0-9]{16,}+                             # Stripe
      | r8_[A-Za-z0-9]{37}                                    # Replicate
      | whsec_[A-Za-z0-9+/]{24,}+
      | h (?: f_[A-Za-z0-9]{30,}+                             # Hugging Face
            | vs\.[A-Za-z0-9_-]{24,}+ )                       # HashiCorp Vault
      | npm_[A-Za-z0-9]{36}                                   # npm
      | pypi-[A-Za-z0-9_-]{50,}+                              # PyPI
      | pplx-[A-Za-z0-9]{32,}+                                # Perplexity
      | S (?: G\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}   # SendGrid
            | K[0-9a-f]{32} (?![A-Za-z0-9]) )                 # Twilio
      | d (?: o[opr]_v1_[a-f0-9]{64}                          # DigitalOcean
            | api[0-9a-f]{32}                                 # Databricks
            | ckr_[a-z]{3}_[A-Za-z0-9_-]{20,}+ )              # Docker
      | (?<![_-]) eyJ[A-Za-z0-9_-]{8,}+ \. eyJ[A-Za-z0-9_-]{8,}+ \. [A-Za-z0-9_-]*+   # JWT
    )
    """,
    regex.VERBOSE,
)

# Up to the end of the text where the end of the block is missing: half a key is still a secret.
PRIVATE_KEY = regex.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?s:.*?)"
    r"(?:-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
