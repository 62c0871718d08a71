"""ShieldGemma through transformers and torch: one forward pass for all policies of many texts."""

from gemma_guard.scorers.shieldgemma.scorer import ShieldGemma

__all__ = ["ShieldGemma"]
