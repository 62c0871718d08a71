"""How good a guard is on labelled rows, and which bands suit it; extra `gemma-guard[eval]`."""
