"""GPUs behind their interface."""
