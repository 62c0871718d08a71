"""What Google's licence asks of whoever runs ShieldGemma."""

LICENCE = (
    "Gemma Terms of Use (ai.google.dev/gemma/terms): keep to the Prohibited Use Policy, hand the"
    " terms and their notice on with the weights, say what you changed"
)
