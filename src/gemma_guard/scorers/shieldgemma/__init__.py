"""ShieldGemma through transformers and torch: one forward pass for all policies of many texts."""
