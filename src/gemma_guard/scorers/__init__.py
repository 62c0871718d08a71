"""The scorers this package ships; each is loaded by name, through its entry point."""
