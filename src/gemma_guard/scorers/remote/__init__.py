"""ShieldGemma behind another server: token ids go out, two probabilities come back."""
